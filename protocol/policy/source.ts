/** A policy with all that it names, as it travels: read where its files are, parsed where it decides. */
import { MeshError } from '../errors.ts';
import { parsePolicy, type Policy } from './policy.ts';

export interface PolicyFile {
  /** From the folder of the policy. */
  readonly path: string;
  readonly text: string;
}

export interface PolicySource {
  /** Where the document has no name of its own. */
  readonly name: string;
  /** The first is the policy; then what it extends or hands to decision points, all of it. */
  readonly files: readonly PolicyFile[];
}

/**
 * Finds what a policy names. `path`: of the policy, from its folder; `read` gives a file of that folder by its path.
 * Errors: policy_invalid, those of `read`.
 */
export function collectPolicy(path: string, read: (path: string) => string): PolicySource {
  const name = nameOf(path);
  const files = new Map([[path, read(path)]]);
  const resolve = (named: string): { name: string; text: string } => {
    const text = files.get(named) ?? read(named);
    files.set(named, text);
    return { name: nameOf(named), text };
  };
  parsePolicy(files.get(path) ?? '', { name, file: path, resolve });
  return { name, files: [...files].map(([each, text]) => ({ path: each, text })) };
}

/** Errors: policy_invalid. */
export function parseSource({ name, files }: PolicySource): Policy {
  const [root] = files;
  if (root === undefined) throw new MeshError('policy_invalid', `Cannot use policy "${name}": it has no file`);
  return parsePolicy(root.text, {
    name,
    file: root.path,
    resolve: (path) => {
      const file = files.find((each) => each.path === path);
      if (file === undefined) throw new MeshError('policy_invalid', `Cannot read "${path}": it was not given`);
      return { name: nameOf(path), text: file.text };
    },
  });
}

const nameOf = (path: string): string => path.replace(/^.*\//, '').replace(/\.ya?ml$/i, '');
