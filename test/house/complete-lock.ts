/**
 * Completes package-lock.json after `npm install` (both are `npm run lock`).
 *
 * Tools with native parts list one optional package per platform. When a registry mirror lacks some of them, npm leaves
 * them out of the lock, and then `npm ci` refuses that very lock: "Missing: … from lock file"
 * (https://github.com/npm/cli/issues/9846). Their versions are pinned by the package that lists them and their platform
 * is in their names, so the entries can be written without the registry; only their integrity stays unknown.
 */
import { readFileSync, writeFileSync } from 'node:fs';

interface LockEntry {
  version?: string;
  cpu?: string[];
  dev?: boolean;
  integrity?: string;
  libc?: string[];
  optional?: boolean;
  optionalDependencies?: Record<string, string>;
  os?: string[];
  resolved?: string;
}
export interface Lock {
  packages: Record<string, LockEntry>;
}

const OS = ['aix', 'android', 'darwin', 'freebsd', 'linux', 'netbsd', 'openbsd', 'openharmony', 'sunos', 'win32'];
const CPU = ['arm', 'arm64', 'ia32', 'loong64', 'mips64el', 'ppc64', 'riscv64', 's390x', 'wasm32', 'x64'];

/** The optional packages that some entry lists and no entry holds. */
export function missingOptional(lock: Lock): { by: string; name: string; version: string; dev: boolean }[] {
  const missing = [];
  for (const [by, entry] of Object.entries(lock.packages)) {
    for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
      if (!isHeld(lock, by, name)) missing.push({ by, name, version, dev: entry.dev === true });
    }
  }
  return missing;
}

// Node's look-up: node_modules of the package itself, then of each folder above it.
function isHeld(lock: Lock, from: string, name: string): boolean {
  for (let at = from; ; at = at.slice(0, Math.max(at.lastIndexOf('/node_modules/'), 0))) {
    if (lock.packages[`${at === '' ? '' : `${at}/`}node_modules/${name}`] !== undefined) return true;
    if (at === '') return false;
  }
}

function platformEntry(name: string, version: string, dev: boolean): LockEntry {
  if (!/^\d+\.\d+\.\d+[\w.-]*$/.test(version))
    throw new Error(`Cannot lock "${name}": "${version}" is not one version`);
  const words = name.split(/[/-]/);
  const os = words.find((word) => OS.includes(word));
  const cpu = words.find((word) => CPU.includes(word));
  if (os === undefined || cpu === undefined) throw new Error(`Cannot lock "${name}": its name holds no platform`);
  const libc = os !== 'linux' ? undefined : name.includes('musl') ? 'musl' : name.includes('gnu') ? 'glibc' : undefined;
  return {
    version,
    cpu: [cpu],
    ...(dev ? { dev } : {}),
    ...(libc === undefined ? {} : { libc: [libc] }),
    optional: true,
    os: [os],
  };
}

if (import.meta.main) {
  const path = new URL('../../package-lock.json', import.meta.url);
  const lock = JSON.parse(readFileSync(path, 'utf8')) as Lock;
  const missing = missingOptional(lock);
  for (const { name, version, dev } of missing) {
    lock.packages[`node_modules/${name}`] = platformEntry(name, version, dev);
  }
  const sorted = Object.entries(lock.packages).toSorted(([a], [b]) => a.localeCompare(b, 'en'));
  writeFileSync(path, `${JSON.stringify({ ...lock, packages: Object.fromEntries(sorted) }, null, 2)}\n`);
  console.error(`package-lock.json: ${missing.length} optional packages completed`);
}
