"""Pure rules of the queue: states, ids, lanes, messages, retries. No input or output, no clock of its own."""
