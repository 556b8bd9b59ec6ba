import { beforeAll, expect, test } from 'vitest';
import { contradictionsIn, mailProblemsIn } from './calls-evidence.ts';
import { DOCTORED, DOCTORED_MAIL, doctoredCopy } from './calls-doctored.ts';
import { type CallsKilled, killCalls } from './calls-kill.ts';

const KILLS = Number(process.env['AGENTMESH_KILL_ROUNDS'] ?? 20);
const seed = Number(process.env['AGENTMESH_SEED'] ?? Date.now() % 1_000_000);

let killed: CallsKilled;
beforeAll(async () => {
  killed = await killCalls(KILLS, seed);
  console.log(`calls killed, seed ${seed}: ${JSON.stringify([killed.kills, killed.figures])}`);
}, 900_000); // most of it starts daemons, on two cores that other tests share

test(`after ${KILLS} times kill -9 of either side, neither contradicts the other or the client, and nothing ran twice (seed ${seed})`, () => {
  const { evidence, kills, figures } = killed;
  expect(contradictionsIn(evidence)).toEqual([]);
  expect(Object.values(kills).reduce((sum, count) => sum + count)).toBe(KILLS);
  for (const name of ['Acme', 'Gamma'])
    expect(
      Object.keys(kills).some((kill) => kill.startsWith(name)),
      name,
    ).toBe(true);
  for (const figure of ['answered', 'receiptsOfCaller', 'receiptsOfCallee'])
    expect(figures[figure], figure).toBeGreaterThan(KILLS);
  for (const figure of ['unknown', 'halfOfCaller', 'halfOfCallee'])
    expect(figures[figure], `${figure}: nobody was killed at work`).toBeGreaterThan(0);
});

test(`messages that their sender's daemon acknowledged come at least once and in order (seed ${seed})`, () => {
  expect(killed.mail.flatMap(mailProblemsIn)).toEqual([]);
  for (const { to, sent } of killed.mail) expect(sent.length, to).toBeGreaterThan(KILLS);
});

test.each(DOCTORED)('the same evidence is found out where $name', (doctored) => {
  expect(contradictionsIn(doctoredCopy(killed.evidence, doctored)).join('\n')).toMatch(doctored.says);
});

test.each(DOCTORED_MAIL)('the same evidence is found out where $name', (doctored) => {
  for (const mail of killed.mail)
    expect(mailProblemsIn(doctoredCopy(mail, doctored)).join('\n')).toMatch(doctored.says);
});
