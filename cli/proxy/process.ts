/** A proxy as a process of its own. */
import { begin } from './begin.ts';
import type { ProxyLine } from './options.ts';
import type { ProxyWorld } from './run.ts';

const processWorld = (): ProxyWorld => ({
  env: process.env,
  cwd: process.cwd(),
  input: process.stdin,
  output: process.stdout,
  errors: process.stderr,
  onSignal: (run) => {
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => run(signal));
  },
});

/** Errors: UsageError, those of the gate or link. */
export async function runProxyHere(line: ProxyLine): Promise<number> {
  const world = processWorld();
  if (line.flags.peer !== undefined) return (await import('./peer.ts')).runPeerProxy(line, world);
  const begun = await begin(line, world);
  try {
    const { runProxy } = await import('./run.ts');
    return await runProxy(line, begun, world);
  } catch (error) {
    await begun.child?.end('SIGTERM');
    throw error;
  }
}

/** Ends the process. */
export async function runProxyProcess(line: ProxyLine): Promise<never> {
  process.stderr.on('error', () => undefined); // whoever read it is gone; messages go on
  try {
    process.exit(await runProxyHere(line));
  } catch (error) {
    const [{ formatProblem, problemOf }, { createPaint, hasColour }, { homePathsOf, isSetUp }] = await Promise.all([
      import('../problem.ts'),
      import('../text/style.ts'),
      import('../../sdk/gate/index.ts'),
    ]);
    const { home } = homePathsOf(line.home, process.env);
    const place = { home, isHomeGiven: line.home !== undefined, isSetUp: isSetUp(line.home, process.env) };
    const problem = problemOf(error, place);
    const text = formatProblem(problem, createPaint(hasColour(process.stderr.isTTY, process.env)));
    process.stderr.write(text, () => process.exit(problem.exit));
    return new Promise<never>(() => undefined); // until it is written
  }
}
