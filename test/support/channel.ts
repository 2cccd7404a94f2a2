/** A channel over a fake child, with everything that it tells its observer. */
import { openChannel, type ChannelOptions } from '../../src/bridge/channel';
import type { Channel, ChannelObserver, DropReason, JsonRpcRequest } from '../../src/bridge/contract';
import { FakeClock, FakeLink } from './fake-link';

export class RecordingObserver implements ChannelObserver {
  readonly calls: { method: string; outcome: string; seconds: number }[] = [];
  readonly drops: DropReason[] = [];
  readonly lines: string[] = [];
  readonly faults: unknown[] = [];
  noises = 0;
  noiseBytes = 0;

  call(method: string, outcome: string, seconds: number): void {
    this.calls.push({ method, outcome, seconds });
  }

  noise(bytes: number): void {
    this.noises += 1;
    this.noiseBytes += bytes;
  }

  dropped(why: DropReason): void {
    this.drops.push(why);
  }

  stderr(line: string): void {
    this.lines.push(line);
  }

  fault(thrown: unknown): void {
    this.faults.push(thrown);
  }
}

export interface Bench {
  readonly link: FakeLink;
  readonly clock: FakeClock;
  readonly observer: RecordingObserver;
  readonly channel: Channel;
}

/** Opens a channel with small limits. */
export function openBench(over: Partial<ChannelOptions> = {}, link = new FakeLink()): Bench {
  const clock = new FakeClock();
  const observer = new RecordingObserver();
  const channel = openChannel(link, {
    clock,
    observer,
    callTimeout: 60,
    initializeTimeout: 10,
    maxLineBytes: 4_194_304,
    maxCallsInFlight: 2_000,
    ...over,
  });
  return { link, clock, observer, channel };
}

export function aRequest(id: string | number, method = 'tools/call', params?: Record<string, unknown>): JsonRpcRequest {
  return { jsonrpc: '2.0', id, method, ...(params === undefined ? {} : { params }) };
}
