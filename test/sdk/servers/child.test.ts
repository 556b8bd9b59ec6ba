import { expect, test } from 'vitest';
import { type Child, startChild } from '../../../sdk/servers/child.ts';

const start = (script: string, env: Record<string, string> = {}, graceMs = 300): Child =>
  startChild({
    command: '/bin/sh',
    args: ['-c', script],
    cwd: '/',
    env: { PATH: process.env['PATH'], ...env },
    graceMs,
    onUnwatched: (why) => {
      throw new Error(why);
    },
  });

const outputOf = async ({ stdout }: Child): Promise<string> => {
  let text = '';
  for await (const chunk of stdout as AsyncIterable<Buffer>) text += chunk.toString();
  return text;
};

test('the exit code is its own, or 128 and the signal', async () => {
  const seven = start('exit 7');
  const killed = start('kill -9 $$');
  expect(await seven.ended).toEqual({ exit: 7, how: 'exit code 7' });
  expect(await killed.ended).toEqual({ exit: 137, how: 'SIGKILL' });
  await Promise.all([seven.end(), killed.end()]);
});

test('what was written to it before the end arrives', async () => {
  const child = start('cat');
  child.stdin.write('last words');
  const output = outputOf(child);
  await child.end();
  expect(await output).toBe('last words');
  expect(await child.ended).toEqual({ exit: 0, how: 'exit code 0' });
});

test('one that ends by itself when its input closes gets no signal', async () => {
  const child = start("trap 'echo signalled' TERM; cat > /dev/null; echo bye");
  const output = outputOf(child);
  await child.end();
  expect(await output).toBe('bye\n');
});

test('one that does not is told, and then killed', async () => {
  const child = start("trap 'echo told' TERM; while :; do sleep 0.05; done");
  const output = outputOf(child);
  await child.end();
  expect(await output).toMatch(/^told\n/);
  expect((await child.ended).how).toBe('SIGKILL');
});

test('a signal is passed on at once', async () => {
  const child = start("trap 'echo told; exit 0' INT; echo ready; while :; do sleep 0.05; done", {}, 5_000);
  await new Promise((settle) => child.stdout.once('data', settle));
  const startedMs = performance.now();
  await child.end('SIGINT');
  expect(performance.now() - startedMs).toBeLessThan(2_000);
  expect((await child.ended).exit).toBe(0);
});

test('what it started ends with it', async () => {
  const child = start('sh -c "trap \'\' TERM; while :; do sleep 0.05; done" & echo $!; wait');
  const pid = await new Promise<number>((settle) => child.stdout.once('data', (data) => settle(Number(String(data)))));
  expect(() => process.kill(pid, 0)).not.toThrow();
  await child.end();
  const { readFileSync } = await import('node:fs');
  const isGone = (): boolean => {
    try {
      return /^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8')); // orphans of a container are not reaped
    } catch {
      return true; // no such process
    }
  };
  expect(isGone()).toBe(true);
});

test('secrets of ours stay here', async () => {
  const child = start('env', {
    AGENTMESH_AGENT_TOKEN: 'a',
    AGENTMESH_PASSPHRASE: 'b',
    AGENTMESH_HOME: '/h',
    TOKEN: 'c',
  });
  const text = await outputOf(child);
  expect(text).not.toMatch(/AGENTMESH_(?:AGENT_TOKEN|PASSPHRASE)/);
  expect(text).toMatch(/^TOKEN=c$/m);
  expect(text).toMatch(/^AGENTMESH_HOME=\/h$/m);
  await child.end();
});
