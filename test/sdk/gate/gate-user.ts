/** Decides twice, closes, and has nothing left to do: it ends by itself, or the gate holds it. */
import { findPlace, openDaemonGate } from '../../../sdk/gate/index.ts';

const place = findPlace({}, process.env);
const text = 'version: "1.0"\nname: own\ndefault: allow\n';
const gate = await openDaemonGate({ place, policies: [{ name: 'own', files: [{ path: 'own.yaml', text }] }] });
for (let i = 0; i < 2; i++) {
  const verdict = await gate.decide({ action: 'tool_call', tool: { name: 'a', server: 's', arguments: {} } });
  process.stdout.write(`${verdict.effect}\n`);
  gate.settle(verdict, { code: 'ok' });
}
await gate.close();
process.stdout.write('closed\n');
