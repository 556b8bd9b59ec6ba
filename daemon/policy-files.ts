/** The configured policies on disk: read with all that they name, and looked at again and again for changes. */
import { readFileSync, realpathSync, statSync } from 'node:fs';
import { basename, dirname, join, sep } from 'node:path';
import { limits, MeshError, verifyUnwritable } from '../protocol/index.ts';
import type { ConfiguredPolicy } from './core/governance/policy-library.ts';
import { ownUid } from './store/private-file.ts';

export interface PolicyFilesOptions {
  /** Absolute paths. */
  readonly policies: readonly string[];
  readonly shadowPolicies: readonly string[];
  /** Of exposed servers; several may name one. */
  readonly exposedPolicies?: readonly string[] | undefined;
}

export interface PolicyFiles extends Disposable {
  /** All of them. Errors: policy_invalid, permissions (others may write to one). */
  load(): Promise<readonly ConfiguredPolicy[]>;
  /** Calls when a file that was read, or should have been, is another than then. */
  watch(changed: () => void): void;
}

const LOOK_MS = 1_000; // a person who saves a policy looks at once whether it holds

export function createPolicyFiles({ policies, shadowPolicies, exposedPolicies = [] }: PolicyFilesOptions): PolicyFiles {
  const seen = new Map<string, string>();
  let timer: NodeJS.Timeout | undefined;
  const source = (file: string, use: ConfiguredPolicy['use']): ConfiguredPolicy => ({
    file,
    name: nameOf(file),
    text: readIn(file, basename(file), seen),
    resolve: (path) => ({ name: nameOf(path), text: readIn(file, path, seen) }),
    use,
  });
  return {
    load: async () => {
      seen.clear();
      return [
        ...policies.map((file) => source(file, 'live')),
        ...shadowPolicies.map((file) => source(file, 'shadow')),
        ...[...new Set(exposedPolicies)].map((file) => source(file, 'exposed')),
      ];
    },
    watch: (changed) => {
      timer = setInterval(() => {
        const isOther = [...seen].some(([file, before]) => stampOf(file) !== before);
        if (!isOther) return;
        for (const file of seen.keys()) seen.set(file, stampOf(file)); // told once, whatever comes of it
        changed();
      }, LOOK_MS).unref();
    },
    [Symbol.dispose]: () => clearInterval(timer),
  };
}

const nameOf = (path: string): string => basename(path).replace(/\.ya?ml$/i, '');

/** A file of the policy's folder. Errors: policy_invalid, permissions. */
function readIn(policy: string, path: string, seen: Map<string, string>): string {
  const file = join(dirname(policy), path);
  seen.set(file, stampOf(file));
  const refuse = (why: string, cause?: unknown): MeshError =>
    new MeshError('policy_invalid', `Cannot read policy "${file}": ${why}`, { path: file }, { cause });
  let real: string;
  let text: string;
  try {
    real = realpathSync(file);
    const stat = statSync(real);
    const { mode, uid, size } = stat;
    verifyUnwritable({ path: real, type: stat.isFile() ? 'file' : 'other', mode, uid }, 'file', ownUid());
    if (size > limits.POLICY_EXTERNAL_FILE_BYTES_MAX)
      throw refuse(`it has ${size} bytes, want <= ${limits.POLICY_EXTERNAL_FILE_BYTES_MAX}`);
    text = readFileSync(real, 'utf8');
  } catch (cause) {
    if (cause instanceof MeshError) throw cause;
    throw refuse((cause as NodeJS.ErrnoException).code === 'ENOENT' ? 'there is none' : 'it cannot be read', cause);
  }
  const folder = realpathSync(dirname(policy));
  if (!real.startsWith(folder === sep ? sep : folder + sep)) throw refuse(`it leads to "${real}", outside its folder`);
  return text;
}

/** Which file it is, and of when; whatever is done to it, one of these is another afterwards. */
function stampOf(file: string): string {
  const stat = statSync(file, { bigint: true, throwIfNoEntry: false });
  return stat === undefined ? 'none' : `${stat.ino}/${stat.size}/${stat.mtimeNs}/${stat.ctimeNs}`;
}
