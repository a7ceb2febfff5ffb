"""What is known of models before anybody asks the Hub: facts, licences and published scores, each with its source."""
