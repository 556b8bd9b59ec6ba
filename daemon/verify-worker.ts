/** One thread of daemon/verify-pool.ts: verifies job after job, and answers in their order. */
import { parentPort } from 'node:worker_threads';
import { isSignatureValidSodium } from '../protocol/sodium.ts';
import { verifyJob } from './verify-job.ts';

parentPort?.on('message', (job: ArrayBuffer) => {
  parentPort?.postMessage(verifyJob(job, isSignatureValidSodium));
});
