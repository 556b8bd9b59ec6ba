/**
 * Messages over stdio: one a line of UTF-8, ended by \n, without one inside (MCP "Transports", stdio). Lines are cut
 * as bytes and never decoded here, so that no character is cut where two chunks meet.
 */
import type { Writable } from 'node:stream';

const LF = 10;
const END = Buffer.from('\n');

export interface LineReader {
  push(chunk: Buffer): void;
  /** The stream ended; what it left without a line's end is a line too. */
  end(): void;
}

export interface LineReaderOptions {
  /** Longer lines are skipped to their end and never held. */
  readonly bytesMax: number;
  /** Without its end. Blank lines are not told. */
  readonly onLine: (line: Uint8Array) => void;
  /** Once for each line that is too long, as soon as it is. */
  readonly onTooLong: () => void;
}

export function createLineReader({ bytesMax, onLine, onTooLong }: LineReaderOptions): LineReader {
  let parts: Buffer[] = []; // of a line that has not ended
  let bytes = 0;
  let isSkipping = false;

  const take = (part: Buffer): void => {
    if (isSkipping) return;
    bytes += part.length;
    if (bytes <= bytesMax) {
      if (part.length > 0) parts.push(part);
      return;
    }
    isSkipping = true;
    parts = [];
    onTooLong();
  };
  const finish = (): void => {
    const line = parts.length === 1 ? parts[0] : Buffer.concat(parts, isSkipping ? 0 : bytes);
    const isWanted = !isSkipping;
    parts = [];
    bytes = 0;
    isSkipping = false;
    if (isWanted && line !== undefined && !isBlank(line)) onLine(line);
  };

  return {
    push: (chunk) => {
      let start = 0;
      for (let end = chunk.indexOf(LF); end >= 0; end = chunk.indexOf(LF, start)) {
        take(chunk.subarray(start, end));
        finish();
        start = end + 1;
      }
      if (start < chunk.length) take(chunk.subarray(start));
    },
    end: finish,
  };
}

/** JSON's own white space only. */
const isBlank = (line: Uint8Array): boolean => line.every((byte) => byte === 32 || byte === 9 || byte === 13);

export interface LineWriter {
  write(line: Uint8Array): void;
  /** Not yet taken by whoever reads. */
  readonly backlogBytes: number;
}

/** Lines of one turn of the event loop leave in one system call. */
export function createLineWriter(stream: Writable): LineWriter {
  let isCorked = false;
  return {
    write: (line) => {
      if (stream.destroyed || stream.writableEnded) return; // whoever read it is gone, which its owner is told of
      if (!isCorked) {
        isCorked = true;
        stream.cork();
        process.nextTick(() => {
          isCorked = false;
          stream.uncork();
        });
      }
      stream.write(line);
      stream.write(END);
    },
    get backlogBytes() {
      return stream.writableLength;
    },
  };
}
