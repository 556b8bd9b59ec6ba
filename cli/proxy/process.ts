/** A proxy as a process of its own. */
import type { ProxyLine } from './options.ts';
import { type ProxyWorld, runProxy } from './run.ts';

export const processWorld = (): ProxyWorld => ({
  env: process.env,
  cwd: process.cwd(),
  input: process.stdin,
  output: process.stdout,
  errors: process.stderr,
  onSignal: (run) => {
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => run(signal));
  },
});

/** Ends the process. */
export async function runProxyProcess(line: ProxyLine): Promise<never> {
  process.stderr.on('error', () => undefined); // whoever read it is gone; messages go on
  try {
    process.exit(await runProxy(line, processWorld()));
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
