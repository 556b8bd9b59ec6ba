/** Where the passphrase of a key ring comes from, and what becomes of it. */
import { createSecretKey, type KeyObject, scrypt } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { limits, MeshError } from '../../protocol/index.ts';

const KEY_BYTES = 32; // AES-256
const BLOCK_SIZE = 8; // scrypt r
const PARALLEL = 1; // scrypt p

/** Text that opens a key ring; nothing prints or serialises it. */
export class Passphrase {
  readonly #text: string;

  /** Errors: config_invalid, for none or too much of it. */
  constructor(text: string) {
    const bytes = Buffer.byteLength(text);
    if (bytes === 0 || bytes > limits.PASSPHRASE_BYTES_MAX) {
      throw new MeshError(
        'config_invalid',
        `Cannot use the passphrase: it has ${bytes} bytes, want 1 to ${limits.PASSPHRASE_BYTES_MAX}`,
      );
    }
    this.#text = text.normalize('NFKC'); // keyboards and systems compose letters differently (RFC 8265)
  }

  /** scrypt with N = `cost`, r = 8, p = 1; the work is done on another thread. */
  deriveKey(salt: Uint8Array, cost: number): Promise<KeyObject> {
    // OpenSSL counts a little more than the 128 * N * r bytes of scrypt's table, and Node's default allows 32 MiB only.
    const options = { N: cost, r: BLOCK_SIZE, p: PARALLEL, maxmem: 2 * 128 * cost * BLOCK_SIZE };
    return new Promise((resolve, reject) => {
      scrypt(this.#text, salt, KEY_BYTES, options, (failure, derived) => {
        if (failure !== null) return reject(failure);
        const key = createSecretKey(derived);
        derived.fill(0);
        resolve(key);
      });
    });
  }
}

export interface PassphraseSources {
  /** A file's path. */
  readonly file?: string | undefined;
  /** An open file descriptor's number; it is read to its end and closed. */
  readonly fd?: number | undefined;
  /** The process' environment: AGENTMESH_PASSPHRASE_FILE, AGENTMESH_PASSPHRASE, CREDENTIALS_DIRECTORY (systemd). */
  readonly env: Record<string, string | undefined>;
}

/**
 * The passphrase that was given, or undefined. A file or descriptor named by flag goes before the environment, that
 * before the systemd credential `agentmesh-passphrase`. One line end at the end is not part of it.
 * AGENTMESH_PASSPHRASE is deleted from `env`: no child process inherits it and no diagnostic report shows it.
 * Errors: config_invalid (given twice, unreadable, empty, too long, not UTF-8).
 */
export async function passphraseFrom({ file, fd, env }: PassphraseSources): Promise<Passphrase | undefined> {
  const text = env['AGENTMESH_PASSPHRASE'];
  delete env['AGENTMESH_PASSPHRASE'];
  if (file !== undefined && fd !== undefined) throw givenTwice('a file and a descriptor');
  if (file !== undefined) return readFrom(file);
  if (fd !== undefined) return readFrom(fd);

  const named = env['AGENTMESH_PASSPHRASE_FILE'];
  if (named !== undefined && text !== undefined) throw givenTwice('AGENTMESH_PASSPHRASE and AGENTMESH_PASSPHRASE_FILE');
  if (named !== undefined) return readFrom(named);
  if (text !== undefined) return new Passphrase(text);

  const credentials = env['CREDENTIALS_DIRECTORY'];
  return credentials === undefined
    ? undefined
    : readFrom(join(credentials, 'agentmesh-passphrase'), { optional: true });
}

async function readFrom(source: string | number, { optional } = { optional: false }): Promise<Passphrase | undefined> {
  const name = typeof source === 'number' ? `descriptor ${source}` : `file "${source}"`;
  let bytes: Buffer;
  try {
    bytes = await readBounded(source);
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    if (optional && code === 'ENOENT') return undefined; // the unit has credentials, but not this one
    throw new MeshError('config_invalid', `Cannot read the passphrase from ${name}: ${code ?? message}`, {}, { cause });
  }
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new MeshError('config_invalid', `Cannot read the passphrase from ${name}: it is not UTF-8`, {}, { cause });
  } finally {
    bytes.fill(0);
  }
  return new Passphrase(text.replace(/\r?\n$/, ''));
}

/** One byte more than allowed at most, so that a wrong file is refused and not read whole. */
async function readBounded(source: string | number): Promise<Buffer> {
  const end = limits.PASSPHRASE_BYTES_MAX + 2; // a line end is not counted
  const stream =
    typeof source === 'number'
      ? createReadStream('', { fd: source, highWaterMark: end })
      : (await open(source)).createReadStream({ highWaterMark: end });
  const chunks: Buffer[] = [];
  let count = 0;
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    count += chunk.length;
    if (count > end) break; // Passphrase refuses it by its length
  }
  const bytes = Buffer.concat(chunks);
  for (const chunk of chunks) chunk.fill(0);
  return bytes;
}

const givenTwice = (what: string): MeshError =>
  new MeshError('config_invalid', `Cannot choose the passphrase: ${what} are both given, want one of them`);
