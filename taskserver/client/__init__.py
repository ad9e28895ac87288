"""What producers use: submit jobs, await results, follow events; asynchronously, or from plain scripts."""
