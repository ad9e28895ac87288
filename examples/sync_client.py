"""From a script or notebook, without await. It needs a worker: taskserver worker --tools examples.sync_client"""

from taskserver import SyncClient, tool


@tool
def shout(text: str) -> str:
    return text.upper()


def main() -> None:
    with SyncClient() as client:
        job = client.submit(shout, {"text": "hello"})
        print(job.result(timeout=60))
        print(job.status().state)


if __name__ == "__main__":
    main()
