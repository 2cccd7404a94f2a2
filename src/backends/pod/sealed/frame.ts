/** Frames of the launcher's protocol as bytes (docs/launcher-protocol.md, 'Frames'). No state of a conversation. */

/** The protocol's version: the first byte of every sealed line, and the digit in the claim's first word. */
export const PROTOCOL_VERSION = 1;

/** Bytes of data in one frame at most; its line then stays under 32 KiB, the size of one frame of the attach stream. */
export const MAX_BODY = 23 * 1024;

/** Bytes of a sealed line at most, its newline included. */
export const MAX_LINE = 32 * 1024;

/** What each numbered frame is charged beside its body, so that a window bounds memory for one-byte frames too. */
export const FRAME_OVERHEAD = 64;

/** A frame's first byte. Those below 0x20 are numbered: kept by the sender until released, delivered once and in order. */
export const FrameType = {
  Data: 0x01,
  Eof: 0x02,
  Signal: 0x03,
  Stdout: 0x11,
  Stderr: 0x12,
  Exit: 0x13,
  Ack: 0x20,
  Nak: 0x21,
  Hello: 0x22,
  Welcome: 0x23,
  Fenced: 0x24,
  Error: 0x25,
} as const;

export type FrameType = (typeof FrameType)[keyof typeof FrameType];

const NUMBERED_BELOW = 0x20;
const HEAD = 13;
const SEQ = 6;

/** One message. `received` and `released` are its sender's view of the other direction and go with every frame. */
export interface Frame {
  readonly epoch: number;
  /** Of the sealed line: never used twice by one sender in one epoch. */
  readonly number: number;
  /** Any byte: types of a later minor revision are passed over by the reader. */
  readonly type: number;
  readonly received: number;
  readonly released: number;
  /** 0 for types without a number. */
  readonly seq: number;
  readonly body: Buffer;
}

/** Says whether frames of this type carry a sequence number. */
export function isNumbered(type: number): boolean {
  return type < NUMBERED_BELOW;
}

/** The frame's plaintext, in one or two parts; the body is not copied. */
export function plainParts(frame: Frame): [Buffer, Buffer] {
  const numbered = isNumbered(frame.type);
  const head = Buffer.allocUnsafe(numbered ? HEAD + SEQ : HEAD);
  head[0] = frame.type;
  head.writeUIntBE(frame.received, 1, 6);
  head.writeUIntBE(frame.released, 7, 6);
  if (numbered) head.writeUIntBE(frame.seq, HEAD, SEQ);
  return [head, frame.body];
}

/** Reads a plaintext; the body aliases it. Undefined: malformed, which only a broken peer can send. */
export function parsePlain(epoch: number, number: number, plain: Buffer): Frame | undefined {
  if (plain.length < HEAD) return undefined;
  const type = plain[0];
  const numbered = isNumbered(type);
  const start = numbered ? HEAD + SEQ : HEAD;
  if (plain.length < start || plain.length - start > MAX_BODY) return undefined;
  const received = plain.readUIntBE(1, 6);
  const released = plain.readUIntBE(7, 6);
  const seq = numbered ? plain.readUIntBE(HEAD, SEQ) : 0;
  if (released > received || (numbered && seq === 0)) return undefined;
  return { epoch, number, type, received, released, seq, body: plain.subarray(start) };
}

/** Body of a Welcome frame. */
export interface Welcome {
  /** Stdin's last byte so far was not a newline. */
  readonly stdinMidLine: boolean;
  /** The byte of stdout before frame `first` was not a newline. */
  readonly stdoutMidLine: boolean;
  /** The program could not be started; an Exit says why. */
  readonly neverStarted: boolean;
  /** Sequence number of the next numbered frame on this stream. */
  readonly first: number;
  /** Charge of what lies in the launcher's stdin window. */
  readonly queued: number;
  /** The claim's windows, which a new holder keeps to whatever its own settings are. */
  readonly stdinWindow: number;
  readonly outputWindow: number;
}

/** Reads a Welcome frame's body; undefined: malformed. */
export function parseWelcome(body: Buffer): Welcome | undefined {
  if (body.length < 19) return undefined;
  const flags = body[0];
  return {
    stdinMidLine: (flags & 1) !== 0,
    stdoutMidLine: (flags & 2) !== 0,
    neverStarted: (flags & 4) !== 0,
    first: body.readUIntBE(1, 6),
    queued: body.readUInt32BE(7),
    stdinWindow: body.readUInt32BE(11),
    outputWindow: body.readUInt32BE(15),
  };
}

/** How a child ended, as an Exit frame says it. `text` is for the log. */
export interface ExitBody {
  readonly kind: 'exited' | 'signaled' | 'start-failed';
  readonly value: number;
  readonly text: string;
}

const EXIT_KINDS = ['exited', 'signaled', 'start-failed'] as const;

/** Reads an Exit frame's body; undefined: malformed. */
export function parseExit(body: Buffer): ExitBody | undefined {
  const kind = EXIT_KINDS[body[0] ?? EXIT_KINDS.length];
  if (kind === undefined || body.length < 2) return undefined;
  return { kind, value: body[1], text: body.toString('utf8', 2) };
}
