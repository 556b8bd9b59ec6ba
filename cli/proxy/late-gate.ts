import type { Gate } from '../../protocol/policy/index.ts';

/** A gate that is still being opened: whoever asks it waits until it is. */
export type LateGate = Omit<Gate, 'close' | typeof Symbol.asyncDispose>;

/** Lets the conversation begin, which nothing decides, while the daemon is looked for. */
export function lateGate(opening: Promise<Gate>): LateGate {
  let open: Gate | undefined;
  opening.then(
    (gate) => (open = gate),
    () => undefined, // whoever asks is told, and so is who opened it
  );
  return {
    get description() {
      return open?.description ?? { mode: 'local', agent: '', organisation: null, policies: [], missing: [] };
    },
    decide: async (...asked) => (open ?? (await opening)).decide(...asked),
    filter: async (...asked) => (open ?? (await opening)).filter(...asked),
    settle: (...told) => open?.settle(...told),
    checkTools: async (...asked) => (open ?? (await opening)).checkTools(...asked),
  };
}
