"""For producers: submit jobs, wait for results and follow events, with or without asyncio."""
