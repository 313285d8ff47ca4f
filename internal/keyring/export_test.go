package keyring

// WordList is the list of words for its test.
func WordList() []string { return wordList }
