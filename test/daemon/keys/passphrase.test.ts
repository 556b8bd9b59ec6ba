import { closeSync, openSync } from 'node:fs';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { spawnSync } from 'node:child_process';
import { format, inspect } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Passphrase, passphraseFrom } from '../../../daemon/keys/passphrase.ts';
import { limits } from '../../../protocol/index.ts';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'agentmesh-passphrase-'));
});
afterEach(async () => {
  await rm(directory, { recursive: true, force: true });
});

const salt = new Uint8Array(16);
const keyOf = async (passphrase: Passphrase | undefined) =>
  (await passphrase?.deriveKey(salt, 16))?.export().toString('hex');
const expected = (text: string) => keyOf(new Passphrase(text));
const file = async (text: string | Uint8Array, name = 'secret'): Promise<string> => {
  const path = join(directory, name);
  await writeFile(path, text);
  return path;
};

describe('passphraseFrom()', () => {
  it('answers undefined when none is given', async () => {
    expect(await passphraseFrom({ env: { HOME: '/' } })).toBeUndefined();
    expect(await passphraseFrom({ env: { CREDENTIALS_DIRECTORY: directory } })).toBeUndefined();
  });

  it.each(['one', 'one\n', 'one\r\n'])('reads a file with the content %j', async (text) => {
    expect(await keyOf(await passphraseFrom({ file: await file(text), env: {} }))).toBe(await expected('one'));
  });

  it('takes away one line end only, and no other white space', async () => {
    expect(await keyOf(await passphraseFrom({ file: await file(' two words \n\n'), env: {} }))).toBe(
      await expected(' two words \n'),
    );
  });

  it('reads a descriptor to its end and closes it', async () => {
    const fd = openSync(await file('from a descriptor\n'), 'r');
    expect(await keyOf(await passphraseFrom({ fd, env: {} }))).toBe(await expected('from a descriptor'));
    expect(() => closeSync(fd)).toThrow(/EBADF/);
  });

  it('reads a pipe', async () => {
    const script = `
      import { passphraseFrom } from ${JSON.stringify(join(import.meta.dirname, '../../../daemon/keys/passphrase.ts'))};
      const passphrase = await passphraseFrom({ fd: 0, env: {} });
      const key = await passphrase.deriveKey(new Uint8Array(16), 16);
      console.log(key.export().toString('hex'));`;
    const { stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
      input: 'through a pipe\n',
      encoding: 'utf8',
    });
    expect(stdout.trim()).toBe(await expected('through a pipe'));
  });

  it('goes by flag, then environment, then systemd credential', async () => {
    const [flag, named] = [await file('flag', 'flag'), await file('named', 'named')];
    await file('credential', 'agentmesh-passphrase');
    const credentials = { CREDENTIALS_DIRECTORY: directory };
    expect(
      await keyOf(await passphraseFrom({ file: flag, env: { ...credentials, AGENTMESH_PASSPHRASE: 'text' } })),
    ).toBe(await expected('flag'));
    expect(await keyOf(await passphraseFrom({ env: { ...credentials, AGENTMESH_PASSPHRASE_FILE: named } }))).toBe(
      await expected('named'),
    );
    expect(await keyOf(await passphraseFrom({ env: { ...credentials, AGENTMESH_PASSPHRASE: 'text' } }))).toBe(
      await expected('text'),
    );
    expect(await keyOf(await passphraseFrom({ env: credentials }))).toBe(await expected('credential'));
  });

  it('takes AGENTMESH_PASSPHRASE out of the environment, used or not', async () => {
    for (const source of [{}, { file: await file('one') }]) {
      const env: Record<string, string | undefined> = { AGENTMESH_PASSPHRASE: 'text', PATH: '/bin' };
      await passphraseFrom({ ...source, env });
      expect(env).toEqual({ PATH: '/bin' });
    }
  });

  it('refuses two sources of one rank', async () => {
    const path = await file('one');
    await expect(passphraseFrom({ file: path, fd: 99, env: {} })).rejects.toMatchObject({ code: 'config_invalid' });
    await expect(
      passphraseFrom({ env: { AGENTMESH_PASSPHRASE: 'a', AGENTMESH_PASSPHRASE_FILE: path } }),
    ).rejects.toMatchObject({ code: 'config_invalid' });
  });

  it('refuses an empty one: it is a mistake and not a wish for unencrypted keys', async () => {
    const empty = await file('\n');
    for (const sources of [
      { file: empty, env: {} },
      { env: { AGENTMESH_PASSPHRASE: '' } },
      { env: { AGENTMESH_PASSPHRASE_FILE: '' } },
    ]) {
      await expect(passphraseFrom(sources)).rejects.toMatchObject({ code: 'config_invalid' });
    }
  });

  it('refuses what cannot be read, is not UTF-8 or is too long', async () => {
    const missing = join(directory, 'missing');
    await expect(passphraseFrom({ file: missing, env: {} })).rejects.toThrow(
      `Cannot read the passphrase from file "${missing}": ENOENT`,
    );
    await expect(passphraseFrom({ fd: 12_345, env: {} })).rejects.toThrow(
      /descriptor 12345": EBADF|descriptor 12345: EBADF/,
    );
    await expect(passphraseFrom({ file: directory, env: {} })).rejects.toMatchObject({ code: 'config_invalid' });
    await expect(passphraseFrom({ file: await file(Uint8Array.of(0xff, 0xfe)), env: {} })).rejects.toThrow(/not UTF-8/);
    const most = 'x'.repeat(limits.PASSPHRASE_BYTES_MAX);
    expect(await keyOf(await passphraseFrom({ file: await file(`${most}\r\n`), env: {} }))).toBe(await expected(most));
    await expect(passphraseFrom({ file: await file(`${most}x`), env: {} })).rejects.toMatchObject({
      code: 'config_invalid',
    });
    await expect(passphraseFrom({ file: await file('x'.repeat(10_000_000)), env: {} })).rejects.toMatchObject({
      code: 'config_invalid',
    });
  });

  it('reads a file that others may read, as container secrets are', async () => {
    const path = await file('one');
    await chmod(path, 0o444);
    expect(await keyOf(await passphraseFrom({ file: path, env: {} }))).toBe(await expected('one'));
  });
});

describe('Passphrase', () => {
  it('is in nothing that prints it', () => {
    const passphrase = new Passphrase('staple');
    const printed = [
      inspect(passphrase, { showHidden: true, depth: 9 }),
      JSON.stringify({ passphrase }),
      format('%s %o %j', passphrase, passphrase, passphrase),
    ].join('\n');
    expect(printed).toContain('Passphrase');
    expect(printed).not.toContain('staple');
  });

  // RFC 7914 section 12, third vector: N = 16384, r = 8, p = 1; its first 32 bytes.
  it('derives what scrypt derives', async () => {
    const key = await new Passphrase('pleaseletmein').deriveKey(Buffer.from('SodiumChloride'), 16_384);
    expect(key.export().toString('hex')).toBe('7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2');
  });
});
