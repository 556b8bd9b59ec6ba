/** Verifies as many copies of one statement as asked for with a pool that it never closes, says so, and is done. */
import { createVerifyPool } from '../../daemon/verify-pool.ts';
import { createOrganisation } from '../builders.ts';

const { genesis } = createOrganisation('acme');
const unexpected = (facts: object, message: string): never => {
  throw new Error(`${message} ${JSON.stringify(facts)}`);
};
const log = { debug: unexpected, info: unexpected, warn: unexpected, error: unexpected };
const pool = createVerifyPool({ threads: 2, log });
const verdicts = await pool(Array.from({ length: Number(process.argv[2]) }, () => genesis));
process.stdout.write(`${verdicts.length} ${verdicts.every((verdict) => verdict)}\n`);
