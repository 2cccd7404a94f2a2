/** Sealed lines: AES-256-GCM (NIST SP 800-38D) over a frame, in base64 (RFC 4648, 4) without padding (docs/launcher-protocol.md, 'Lines'). */
import { createCipheriv, createDecipheriv, createSecretKey, type KeyObject } from 'node:crypto';
import { type Frame, MAX_LINE, PROTOCOL_VERSION, parsePlain, plainParts } from './frame';

/** Tells the two senders apart inside the nonce, so that they can never share one. */
export const Direction = { toLauncher: 1, fromLauncher: 2 } as const;
export type Direction = (typeof Direction)[keyof typeof Direction];

const CIPHER = 'aes-256-gcm';
const ENVELOPE = 13;
const TAG = 16;
const TAG_LENGTH = { authTagLength: TAG };
const NEWLINE = 0x0a;

/** Bytes of a key. */
export const KEY_BYTES = 32;

/** What became of a line: a frame; `bad`: no frame for this reader, pass over it; `malformed`: authentic nonsense, the peer is broken. */
export type Opened = Frame | 'bad' | 'malformed';

/** Seals the frames of one direction and opens those of the other. */
export class Codec {
  private readonly key: KeyObject;
  private readonly own: Direction;

  /** Throws a RangeError unless the key has 32 bytes. The key is copied out of reach; the caller may wipe its buffer. */
  constructor(key: Buffer, own: Direction) {
    if (key.length !== KEY_BYTES) throw new RangeError('a sealed link needs a key of 32 bytes');
    this.key = createSecretKey(key);
    this.own = own;
  }

  /**
   * The frame as one line with its newline.
   *
   * The nonce is direction, epoch and number: the caller never gives a number twice in an epoch, not even for the same frame sent again.
   */
  seal(frame: Frame): Buffer {
    const [head, body] = plainParts(frame);
    const length = ENVELOPE + head.length + body.length + TAG;
    const raw = Buffer.allocUnsafe(length);
    raw[0] = PROTOCOL_VERSION;
    raw[1] = this.own;
    raw[2] = 0;
    raw.writeUInt32BE(frame.epoch, 3);
    raw.writeUIntBE(frame.number, 7, 6);
    const envelope = raw.subarray(0, ENVELOPE);
    const cipher = createCipheriv(CIPHER, this.key, envelope.subarray(1), TAG_LENGTH);
    cipher.setAAD(envelope);
    let at = ENVELOPE;
    at += cipher.update(head).copy(raw, at);
    if (body.length > 0) at += cipher.update(body).copy(raw, at);
    cipher.final();
    cipher.getAuthTag().copy(raw, at);
    const text = raw.toString('base64');
    const digits = Math.ceil((length * 4) / 3);
    const line = Buffer.allocUnsafe(digits + 1);
    line.write(text, 0, digits, 'latin1');
    line[digits] = NEWLINE;
    return line;
  }

  /** Opens a line without its newline. */
  open(line: Buffer): Opened {
    if (line.length >= MAX_LINE) return 'bad';
    const raw = Buffer.from(line.toString('latin1'), 'base64');
    if (raw.length < ENVELOPE + TAG || raw[0] !== PROTOCOL_VERSION || raw[1] === this.own || raw[2] !== 0) return 'bad';
    const decipher = createDecipheriv(CIPHER, this.key, raw.subarray(1, ENVELOPE), TAG_LENGTH);
    decipher.setAAD(raw.subarray(0, ENVELOPE));
    decipher.setAuthTag(raw.subarray(raw.length - TAG));
    const plain = decipher.update(raw.subarray(ENVELOPE, raw.length - TAG));
    try {
      decipher.final();
    } catch {
      return 'bad';
    }
    return parsePlain(raw.readUInt32BE(3), raw.readUIntBE(7, 6), plain) ?? 'malformed';
  }
}
