"""Signed messages and secret arguments: a worker with a key runs only messages that were signed with it."""

import asyncio
import os
import secrets

from pydantic import SecretStr

from taskserver import Client, JobFailed, tool
from taskserver.testing import running_worker


@tool(max_retries=0)
async def unlock(door: str, code: SecretStr) -> str:
    if len(code.get_secret_value()) != 6:
        raise ValueError(f"{code.get_secret_value()} does not open {door}")
    return f"{door} is open"


async def main() -> None:
    os.environ["AGENT_KEY"] = secrets.token_hex(32)  # usually in a file or variable of your deployment
    keys = "env:AGENT_KEY"  # a reference; or in the environment: TASKSERVER_SIGNING_KEYS=env:AGENT_KEY

    worker = running_worker(unlock, signing_keys=keys, keep_messages=True)
    async with worker as agent, Client() as stranger:
        job = await agent.submit(unlock, {"door": "the lab", "code": SecretStr("314159")})
        print(await job.result(timeout=60))
        print("shown:", (await job.status()).arguments)

        for who, code in ((agent, "27182"), (stranger, "314159")):
            try:
                await (await who.submit(unlock, {"door": "the lab", "code": code})).result(timeout=60)
            except JobFailed as error:
                print(f"{error.error_type}: {error.error_message}")


if __name__ == "__main__":
    asyncio.run(main())
