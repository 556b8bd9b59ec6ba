import { chmod, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { passphraseOf, readKey, writeNewKey } from '../../cli/key-files.ts';
import { readKeyFile } from '../../daemon/keys/key-file.ts';
import { Passphrase } from '../../daemon/keys/passphrase.ts';
import { openKeyRing } from '../../daemon/keys/ring.ts';
import { createSystemRandom } from '../../daemon/system.ts';
import { keyOf } from '../builders.ts';

const uid = process.getuid?.() ?? 0;
const log = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'agentmesh-keys-'));
});
afterAll(() => rm(directory, { recursive: true }));

describe('a new key', () => {
  test.each([
    ['plain', undefined, '.key'],
    ['encrypted', 'pass wörd', '.sealed'],
  ])('%s, is opened here and by the daemon alike', async (_, passphrase, ending) => {
    const { file, publicKey } = await writeNewKey(directory, 'recovery-1', passphrase);
    expect(file).toMatch(new RegExp(`/recovery-1-\\w{8}\\${ending}$`));
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    const signer = await readKey(file, passphrase, uid);
    expect(signer.publicKey).toEqual(publicKey);
    const daemons = await readKeyFile(file, passphrase === undefined ? undefined : new Passphrase(passphrase));
    expect(daemons.publicKey).toEqual(publicKey);
    expect(signer.sign(Buffer.from('x'))).toHaveLength(64);
  });

  test('never overwrites, and is never the same', async () => {
    const files = await Promise.all([1, 2, 3].map(() => writeNewKey(directory, 'r', undefined)));
    expect(new Set(files.map(({ file }) => file)).size).toBe(3);
    expect(new Set(await Promise.all(files.map(({ file }) => readFile(file, 'utf8')))).size).toBe(3);
  });
});

test("a key of the daemon's ring is opened, with its passphrase", async () => {
  const ringed = join(directory, 'ring');
  const passphrase = new Passphrase('pw');
  await using ring = await openKeyRing({
    directory: ringed,
    passphrase,
    random: createSystemRandom(),
    log,
    scryptCost: 1024,
  });
  const { publicKey } = await ring.create('recovery-1');
  expect((await readKey(join(ringed, 'recovery-1.sealed'), 'pw', uid)).publicKey).toEqual(publicKey);
  await expect(readKey(join(ringed, 'recovery-1.sealed'), 'wrong', uid)).rejects.toMatchObject({ code: 'key_locked' });
  await expect(readKey(join(ringed, 'recovery-1.sealed'), undefined, uid)).rejects.toMatchObject({
    code: 'key_locked',
  });
});

describe('a file that is not to be trusted', () => {
  const write = async (text: string): Promise<string> => {
    const file = join(directory, 'a.key');
    await writeFile(file, text, { mode: 0o600 });
    return file;
  };
  const plain = (key: string, seedOf: string): string =>
    JSON.stringify({
      format: 'agentmesh-key/1',
      name: 'a',
      publicKey: keyOf(key).text,
      seed: Buffer.from(keyOf(seedOf).seed).toString('base64url'),
    });

  test.each([
    ['no JSON', '', 'key_damaged'],
    ['another format', '{"format":"x","name":"a","publicKey":"z","seed":"s"}', 'key_damaged'],
    ['the seed of another key', plain('a', 'b'), 'key_damaged'],
    ['too long', ' '.repeat(5_000), 'too_large'],
  ])('%s', async (_, text, code) => {
    const seed = Buffer.from(keyOf('b').seed).toString('base64url');
    const error: unknown = await readKey(await write(text), undefined, uid).catch((cause: unknown) => cause);
    expect(error).toMatchObject({ code });
    expect(String(error)).not.toContain(seed);
  });

  test('open to others, or not there', async () => {
    const file = await write(plain('a', 'a'));
    await chmod(file, 0o640);
    await expect(readKey(file, undefined, uid)).rejects.toMatchObject({ code: 'permissions' });
    await expect(readKey(join(directory, 'nothing'), undefined, uid)).rejects.toMatchObject({ code: 'not_found' });
  });
});

test('passphraseOf() takes the named file, then the environment, without the line end', async () => {
  const file = join(directory, 'pw');
  await writeFile(file, 'from file\r\n');
  expect(await passphraseOf(file, { AGENTMESH_PASSPHRASE: 'x' })).toBe('from file');
  expect(await passphraseOf(undefined, { AGENTMESH_PASSPHRASE_FILE: file })).toBe('from file');
  expect(await passphraseOf(undefined, { AGENTMESH_PASSPHRASE: 'from env' })).toBe('from env');
  expect(await passphraseOf(undefined, {})).toBeUndefined();
  await writeFile(file, '\n');
  await expect(passphraseOf(file, {})).rejects.toMatchObject({ code: 'config_invalid' });
});
