import { readFileSync, realpathSync, statSync } from 'node:fs';
import { basename, dirname, join, relative, resolve, sep } from 'node:path';
import { MeshError } from '../../protocol/errors.ts';
import * as limits from '../../protocol/limits.ts';
import type { PolicySource } from '../../protocol/policy/index.ts';
import { isPresetName, PRESET_NAMES, presetSource } from '../../protocol/policy/presets.ts';

/**
 * A policy by the name of a built-in one, or by its path, with the files that it extends or hands to decision points.
 * Errors: policy_invalid.
 */
export async function readPolicySource(nameOrPath: string, directory = '.'): Promise<PolicySource> {
  if (isPresetName(nameOrPath)) return presetSource(nameOrPath);
  const file = resolve(directory, nameOrPath);
  const folder = new PolicyFolder(file);
  const path = basename(file);
  const text = folder.read(path);
  // The parser is loaded where there is something to look for: a policy that names no other file is one file.
  if (!/extends|external/.test(text)) return { name: path.replace(/\.ya?ml$/i, ''), files: [{ path, text }] };
  const { collectPolicy } = await import('../../protocol/policy/index.ts');
  return collectPolicy(path, (named) => folder.read(named));
}

/** What a policy may name: files in its folder and below, links followed. */
class PolicyFolder {
  readonly #directory: string;

  /** Errors: policy_invalid. */
  constructor(file: string) {
    try {
      this.#directory = realpathSync(dirname(file));
    } catch (cause) {
      throw unreadable(file, cause);
    }
  }

  /** By its path from the folder. Errors: policy_invalid. */
  read(path: string): string {
    const file = join(this.#directory, path);
    try {
      const real = realpathSync(file);
      const inside = relative(this.#directory, real);
      if (inside === '..' || inside.startsWith(`..${sep}`))
        throw new MeshError(
          'policy_invalid',
          `Cannot read "${file}": it leads to "${real}", outside its policy's folder`,
        );
      const stat = statSync(real);
      if (!stat.isFile()) throw new MeshError('policy_invalid', `Cannot read "${file}": it is no file`, { path: file });
      const { size } = stat;
      if (size > limits.POLICY_EXTERNAL_FILE_BYTES_MAX) {
        const want = limits.POLICY_EXTERNAL_FILE_BYTES_MAX;
        throw new MeshError('policy_invalid', `Cannot read "${file}": it has ${size} bytes, want <= ${want}`, {
          is: size,
          want,
        });
      }
      return readFileSync(real, 'utf8');
    } catch (cause) {
      throw cause instanceof MeshError ? cause : unreadable(file, cause);
    }
  }
}

const unreadable = (file: string, cause: unknown): MeshError => {
  const why = (cause as NodeJS.ErrnoException).code === 'ENOENT' ? 'there is none' : 'it cannot be read';
  return new MeshError(
    'policy_invalid',
    `Cannot read policy "${file}": ${why}, want a file, or one of ${PRESET_NAMES.join(', ')}`,
    { path: file },
    { cause },
  );
};
