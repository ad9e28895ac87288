"""One server: its URL, its connections, who retries what, and whether it is fit."""
