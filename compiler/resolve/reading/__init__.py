"""From files of a repository or a folder to facts of a model."""
