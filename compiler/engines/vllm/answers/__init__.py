"""What a server of vLLM answers: tasks, chats, images, tools."""
