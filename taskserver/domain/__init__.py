"""Pure rules of the queue: states, ids, lanes, messages, retries. No I/O."""
