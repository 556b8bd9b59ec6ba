/** Evidence of calls made false in one place each, by which the checks show that they can fail. */
import type { CallsEvidence, Kept, MailEvidence, SideEvidence, Signed, Stored, Told } from './calls-evidence.ts';

type Open<T> = T extends readonly (infer E)[]
  ? Open<E>[]
  : T extends object
    ? { -readonly [K in keyof T]: Open<T[K]> }
    : T;

export interface Doctored<T> {
  readonly name: string;
  readonly doctor: (evidence: Open<T>) => void;
  /** Found by one of the problems. */
  readonly says: RegExp;
}

const OTHER = 'ff'.repeat(8);

export const DOCTORED: readonly Doctored<CallsEvidence>[] = [
  {
    name: 'an execution is there twice',
    doctor: ({ executions }) => void executions.push({ ...first(executions), nonce: OTHER }),
    says: /it was done 2 times/,
  },
  {
    name: 'what is denied was done',
    doctor: ({ executions, told }) =>
      void executions.push({ key: first(told, ({ tool }) => tool === 'never').key, nonce: OTHER, tool: 'never' }),
    says: /no policy allows it/,
  },
  {
    name: 'an execution is gone of which receipts speak',
    doctor: (evidence) => {
      const { key } = keptByBoth(evidence);
      evidence.executions = evidence.executions.filter((one) => one.key !== key);
    },
    says: /signed as ok, and never done/,
  },
  {
    name: "what the callee's log allowed is gone",
    doctor: ({ callee }) => void (callee.intents = callee.intents.filter(({ isAllowed }) => !isAllowed)),
    says: /tool work: \d+ times done, and 0 times allowed/,
  },
  {
    name: 'an entry says another outcome than the receipt that it holds',
    doctor: ({ callee }) => void (fullOf(callee.kept, 'ok').told.out = 'error'),
    says: /is in an entry that says/,
  },
  {
    name: 'the callee signs another outcome than the caller',
    doctor: (evidence) => {
      const { order } = keptByBoth(evidence);
      for (const one of [...evidence.callee.kept, ...evidence.callee.stored])
        if (one.order === order) one.out = 'error';
    },
    says: /the caller says ok .*, the callee error/,
  },
  {
    name: 'the caller signs another result than the callee',
    doctor: (evidence) => void (keptByBoth(evidence).res = OTHER),
    says: /the caller says ok f{16}, the callee ok/,
  },
  {
    name: 'the caller says alone that it was denied, and the callee did it',
    doctor: (evidence) => {
      const { order } = keptByBoth(evidence);
      for (const one of [...evidence.caller.kept, ...evidence.caller.stored])
        if (one.order === order) [one.half, one.out, one.res] = [true, 'denied', null];
    },
    says: /the caller says alone denied without an answer, the callee ok/,
  },
  {
    name: 'an intent is settled otherwise than its receipt says',
    doctor: ({ callee }) => {
      const { intent } = first(
        callee.kept,
        ({ half, out, intent: id }) => !half && out === 'ok' && isSettled(callee, id),
      );
      first(callee.settled, (one) => one.intent === intent).code = 'failed';
    },
    says: /callee: receipt \S+ \(ok\) is of an intent that is settled as failed/,
  },
  {
    name: 'an intent is settled twice',
    doctor: ({ caller }) => void caller.settled.push({ ...first(caller.settled) }),
    says: /caller: intent \S+ is settled 2 times/,
  },
  {
    name: 'a receipt names an intent that is not in the log',
    doctor: ({ callee }) => void (fullOf(callee.kept, 'ok').intent = OTHER),
    says: /names intent f{16}, which the log does not hold/,
  },
  {
    name: 'a receipt of something done is of an intent that was refused',
    doctor: ({ callee }) => {
      const { intent } = fullOf(callee.kept, 'ok');
      first(callee.intents, ({ id }) => id === intent).isAllowed = false;
    },
    says: /\(ok\) is of a call that was refused/,
  },
  {
    name: 'a receipt of the log is not in the store',
    doctor: ({ callee }) => {
      const { receipt } = fullOf(callee.kept, 'ok');
      callee.stored = callee.stored.filter((one) => one.receipt !== receipt);
    },
    says: /is in the log, and not in the store/,
  },
  {
    name: 'another order was done under the same key',
    doctor: ({ callee }) => void callee.stored.push({ ...fullOf(callee.stored, 'ok'), order: OTHER }),
    says: /2 orders were done/,
  },
  {
    name: 'both sides signed, and not the same',
    doctor: (evidence) => void (keptByBoth(evidence).receipt = OTHER),
    says: /2 receipts of both sides/,
  },
  {
    name: 'the client is told an answer that the server never gave',
    doctor: ({ told }) => void (answerOf(told).nonce = OTHER),
    says: /the answer told "f{16}" is of no execution/,
  },
  {
    name: 'the client is told another answer when it asks again',
    doctor: ({ told }) => {
      const one = first(told, ({ answer }) => answer !== undefined);
      told.push({ ...one, answer: { nonce: OTHER, isError: false } });
    },
    says: /2 different answers/,
  },
  {
    name: 'the client is told an error that the server did not say',
    doctor: ({ told }) => void (answerOf(told).isError = true),
    says: /answered with isError true/,
  },
  {
    name: 'the client is told that it was not done, and it was',
    doctor: (evidence) => {
      const { key } = first(evidence.told, ({ answer }) => answer !== undefined);
      for (const one of evidence.told) if (one.key === key) [one.answer, one.code] = [undefined, 'unreachable'];
    },
    says: /the client was told that it was not/,
  },
  {
    name: 'the client is told that it was denied, and the receipt says that it was done',
    doctor: (evidence) => {
      const { receipt } = keptByBoth(evidence);
      const one = first(evidence.told, (each) => each.answer !== undefined && each.receipt?.id === receipt);
      [one.answer, one.code] = [undefined, 'policy_denied'];
    },
    says: /the client was told policy_denied, and its receipt \S+ says ok/,
  },
  {
    name: 'a receipt that the client was told of is gone, and no daemon was killed',
    doctor: (evidence) => {
      const { caller, told } = evidence;
      const { receipt } = first(told, (one) => one.answer !== undefined && one.receipt !== undefined);
      evidence.killedLives = [];
      for (const list of ['kept', 'stored'] as const)
        (caller[list] as Open<Signed>[]) = caller[list].filter((one) => one.receipt !== receipt?.id);
    },
    says: /was told, and is not kept/,
  },
];

export const DOCTORED_MAIL: readonly Doctored<MailEvidence>[] = [
  {
    name: 'a message is lost',
    doctor: (mail) => void (mail.received = mail.received.filter((number) => number !== mail.sent[1])),
    says: /was sent, and never came/,
  },
  {
    name: 'a message comes late',
    doctor: ({ sent, received }) => {
      const [number = 0] = sent;
      received.splice(0, received.length, ...received.filter((one) => one !== number), number);
    },
    says: /came after one that was sent later/,
  },
];

export function doctoredCopy<T>(evidence: T, { doctor }: Doctored<T>): T {
  const copy = structuredClone(evidence) as Open<T>;
  doctor(copy);
  return copy as T;
}

function first<T>(all: readonly T[], is: (one: T) => boolean = () => true): T {
  const found = all.find(is);
  if (found === undefined) throw new Error('the evidence has nothing of what is to be doctored');
  return found;
}

const fullOf = <T extends Open<Kept> | Open<Stored>>(all: readonly T[], out: string): T =>
  first(all, (one) => !one.half && one.out === out);

/** Of the caller's store; both logs have it too, and the client was told of it. */
function keptByBoth({ caller, callee, told }: Open<CallsEvidence>): Open<Stored> {
  const others = [caller.kept, callee.kept, callee.stored];
  return first(caller.stored, ({ half, out, receipt }) => {
    const isEverywhere = others.every((all) => all.some((one) => one.receipt === receipt));
    return !half && out === 'ok' && isEverywhere && told.some((one) => one.receipt?.id === receipt);
  });
}

function answerOf(told: readonly Open<Told>[]): { nonce: string; isError: boolean } {
  const { answer } = first(told, (one) => one.tool === 'work' && one.answer !== undefined);
  if (answer === undefined) throw new Error('no answer was told');
  return answer;
}

const isSettled = ({ settled }: Open<SideEvidence>, intent: string | undefined): boolean =>
  settled.some((one) => one.intent === intent);
