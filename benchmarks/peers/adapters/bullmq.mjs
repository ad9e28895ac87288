// BullMQ on Node: the other language's best. Speaks the protocol of protocol.py.
//
// Its docs: addBulk for batches; one worker's concurrency for work that waits; sandboxed processors, given as a file,
// for CPU-bound work; removeOnComplete with an age to keep results for a while. One job is one marker of eight bytes,
// as in tasks.py.
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import fs from 'node:fs';

const require = createRequire(`${process.env.BENCH_ENV}/`);
const { Queue, QueueEvents, Worker } = require('bullmq');

const url = new URL(process.env.BENCH_URL);
const connection = { host: url.hostname, port: Number(url.port), maxRetriesPerRequest: null };
const runs = fs.openSync(process.env.BENCH_RUNS ?? '/dev/null', 'a');
const options = { removeOnComplete: { age: 3600 } };
const now = () => BigInt(Math.round((performance.timeOrigin + performance.now()) * 1e6));

function ran(sinceDue = 0n) {
  const mark = Buffer.alloc(8);
  mark.writeBigInt64LE(sinceDue);
  fs.writeSync(runs, mark);
}

const tasks = {
  noop: async (value) => (ran(), value),
  stamp: async (value) => (ran(now() - BigInt(value)), 0),
  pause: async (value) => (await new Promise((done) => setTimeout(done, value * 1000)), ran(), 0),
  take: async (value) => (ran(), value.length),
  burn: async (value) => {
    const used = () => { const cpu = process.cpuUsage(); return (cpu.user + cpu.system) / 1e6; };
    const end = used() + value;
    while (used() < end);
    ran();
    return 0;
  },
};

// As a sandboxed processor, this file's default export runs the jobs in a process of its own.
export default async (job) => tasks[job.name](job.data.value);

class Unsupported extends Error {}

class Producer {
  async open() {
    this.queue = new Queue('bench', { connection });
    this.events = undefined;
    await this.queue.waitUntilReady();
  }

  async close() {
    await this.events?.close();
    await this.queue.close();
  }

  submit(task, value) {
    return this.queue.add(task, { value }, options);
  }

  submitMany(task, values) {
    return this.queue.addBulk(values.map((value) => ({ name: task, data: { value }, opts: options })));
  }

  // Before the first submit: events that come before it listens are lost.
  async listen() {
    if (this.events) return;
    this.events = new QueueEvents('bench', { connection });
    this.events.setMaxListeners(0);
    await this.events.waitUntilReady();
  }

  result(job) {
    return job.waitUntilFinished(this.events, 300_000);
  }
}

const values = (jobs, value) => Array.from({ length: jobs }, (_, i) => value ?? i);

async function inParts(items, size, send) {
  const handles = [];
  for (let start = 0; start < items.length; start += size) {
    handles.push(...await send(items.slice(start, start + size)));
  }
  return handles;
}

async function timed(action) {
  const start = performance.now();
  await action();
  return (performance.now() - start) / 1000;
}

const requests = {
  open: async (producer) => (await producer.open(), {}),
  close: async (producer) => (await producer.close(), {}),

  async submit(producer, { task, jobs, how, value }) {
    const all = values(jobs, value);
    const seconds = await timed(async () => {
      if (how === 'one by one') {
        for (const each of all) await producer.submit(task, each);
      } else if (how === 'gathered') {
        await inParts(all, 100, (part) => Promise.all(part.map((each) => producer.submit(task, each))));
      } else {
        await inParts(all, 10_000, (part) => producer.submitMany(task, part));
      }
    });
    return { seconds, how: how === 'fastest' ? 'batched' : how };
  },

  async latency(producer, { task, jobs, seconds, value }) {
    const samples = [];
    const end = performance.now() + seconds * 1000;
    await producer.listen();
    for (const each of values(5 + jobs, value)) {
      if (performance.now() > end && samples.length > 10) break;
      samples.push(await timed(async () => producer.result(await producer.submit(task, each))));
    }
    return { samples: samples.slice(5) };
  },

  async paced(producer, { rate, seconds }) {
    const start = performance.now();
    const first = now();
    const jobs = Math.floor(rate * seconds);
    let sent = 0;
    while (sent < jobs) {
      const passed = (performance.now() - start) / 1000;
      const due = Math.min(jobs, Math.floor(passed * rate) + 1);
      if (due > sent) {
        const from = sent;
        const stamps = Array.from({ length: due - from }, (_, i) =>
          String(first + BigInt(Math.floor(((from + i) / rate) * 1e9))));
        await (stamps.length > 1 ? producer.submitMany('stamp', stamps) : producer.submit('stamp', stamps[0]));
        sent = due;
      } else {
        await new Promise((done) => setTimeout(done, 1));
      }
    }
    return { sent, seconds: (performance.now() - start) / 1000 };
  },

  async awaited(producer, { jobs }) {
    await producer.listen();
    const seconds = await timed(async () => {
      const handles = await producer.submitMany('noop', values(jobs));
      const results = await Promise.all(handles.map((job) => producer.result(job)));
      if (new Set(results).size !== jobs) throw new Error('results are missing or wrong');
    });
    return { seconds };
  },
};

async function serve() {
  const say = (answer) => process.stdout.write(`${JSON.stringify(answer)}\n`);
  const lines = createInterface({ input: process.stdin });
  lines.once('close', () => process.exit(0)); // the harness is gone
  say({ ready: true });
  if (process.argv[2] === 'worker') {
    lines.once('line', () => {
      const sandboxed = process.env.BENCH_PROCESSES === '1';
      const processor = sandboxed ? fileURLToPath(import.meta.url) : async (job) => tasks[job.name](job.data.value);
      new Worker('bench', processor, { connection, concurrency: Number(process.env.BENCH_CONCURRENCY) });
    });
    return;
  }
  const producer = new Producer();
  for await (const line of lines) {
    const { do: what, ...request } = JSON.parse(line);
    try {
      say(await requests[what](producer, request));
    } catch (error) {
      console.error(error);
      say(error instanceof Unsupported ? { unsupported: error.message } : { error: String(error).slice(0, 300) });
    }
  }
  process.exit(0);
}

if (process.argv[2] === 'worker' || process.argv[2] === 'producer') await serve();
