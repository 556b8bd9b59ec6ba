/**
 * The policies that come with AgentMesh, as anybody would write them: used by name ("agentmesh:strict" in `extends`),
 * printed, copied and changed. They know tools by name only, as MCP servers together call them, so that a policy of
 * one's own is always better. What denies is wide, what allows is narrow; names compare without case, so that words in
 * camel case run together.
 */
import type { PolicySource } from './source.ts';

/** Of tools, resources and prompts the same, in three rules: a rule that needs what a request is not about does not apply. */
const pathRules = (name: string, description: string, pattern: string): string => `\
  - name: ${name}
    description: ${description}
    condition: >-
      tool.paths.exists(p, p.matches('${pattern}'))
    action: deny
  - name: ${name}-as-resources
    description: ${description}
    condition: >-
      action.type == 'resource_read' and (has(resource.paths)
      and resource.paths.exists(p, p.matches('${pattern}'))
      or not has(resource.paths) and resource.uri.lower().startsWith('file:'))
    action: deny
  - name: ${name}-as-prompts
    description: ${description}
    condition: >-
      prompt.paths.exists(p, p.matches('${pattern}'))
    action: deny
`;

const PATH_RULES = `\
${pathRules(
  'no-system-files',
  'Files of the operating system are out of reach',
  '(?i)^([a-z]:)?(/private)?/(etc|proc|sys|boot|root|windows|var/(root|run|db|spool|lib))(/|$)',
)}
${pathRules(
  'no-credentials',
  'Folders and files that hold keys, passwords and tokens are out of reach',
  [
    '(?i)/[.](ssh|aws|azure|gnupg|kube|docker|agentmesh|password-store|mozilla|config/(gcloud|gh|op|agentmesh)|local/share/(keyrings|agentmesh))(/|$)',
    '/library/(keychains|application support/agentmesh)(/|$)',
    '/[.]env(rc|[.][^/]*)?$',
    '/[.](netrc|npmrc|pypirc|pgpass|my[.]cnf|htpasswd|git-credentials|vault-token|terraformrc|[a-z]*_history)$',
    '/id_(rsa|dsa|ecdsa|ed25519)$',
    '[.](pem|key|p12|pfx|jks|keystore|kdbx|ppk|ovpn|tfstate)$',
    '/(credentials|secrets?)([.](json|ya?ml|toml|ini|txt))?$',
  ].join('|'),
)}`;

const DELETES =
  'delete|remove|destroy|erase|truncate|uninstall|unlink|revoke|rmdir|format_?disk|(^|[^a-z])(rm|drop|wipe|purge|prune|del)([^a-z]|$)';
const RUNS =
  'shell|bash|terminal|exec|subprocess|sudo|eval|spawn|run_?(a_)?(command|script|code|process|program|python|node|js|cmd)|(^|[^a-z])(run|cmd|ssh|sh|zsh|repl|command|kill)([^a-z]|$)|(start|interact_with|force)_?(process|terminate)';
const SECRETS =
  'secret|credential|passw(or)?d|passphrase|private_?key|api_?key|access_?key|access_?token|keychain|(^|[^a-z])(vault|env|getenv)([^a-z]|$)';
const WRITES =
  'write|edit|create|update|insert|append|patch|upload|move|rename|replace|modify|push|merge|publish|send|upsert|(^|[^a-z])(commit|put|post|set|add|save|store|copy|fork|close)([^a-z]|$)';
const READS =
  '^([a-z0-9-]+(__|[./:]))*((read|get|list|search|find|describe|show|view|stat|count|lookup|inspect|head|tail|grep|glob|ls)([_-]|$)|(directory|file)_tree$|(read(text|media|multiple)?files?|list(directory|files|tools)|searchfiles|getfileinfo|directorytree)$)';

const STRICT = `\
# Reading only. Tools that read by their name, resources and prompts are allowed; everything else is denied, and
# of that the worst by rules of their own. Extend it to allow more:
#
#   version: "1.0"
#   extends: agentmesh:strict
#   rules:
#     - name: write-reports
#       condition: "tool.name == 'write_file' and tool.paths.all(p, under(p, '/srv/reports'))"
#       action: allow
#
# Whatever a rule here denies stays denied in what extends it.
version: "1.0"
name: strict
description: Reading only, away from credentials; secrets are cut out of what comes back.
default: deny

rules:
${PATH_RULES}
  - name: no-secrets-by-name
    description: Tools that hand out secrets are not for agents
    condition: "tool.name.matches('${SECRETS}')"
    action: deny
  - name: no-deletion
    description: Nothing is deleted
    condition: "tool.name.matches('${DELETES}')"
    action: deny
  - name: no-execution
    description: No commands, scripts and programs
    condition: "tool.name.matches('${RUNS}')"
    action: deny
  - name: no-secrets-out
    description: The arguments hold a key, token or password
    condition: "action.type == 'tool_call' and data.contains_secret"
    action: deny
  - name: no-sampling
    description: Servers do not use the model of their client
    condition: "action.type == 'sampling'"
    action: deny

  - name: read-tools
    condition: "action.type == 'tool_call' and tool.name.matches('${READS}')"
    action: allow
  - name: resources
    condition: "action.type == 'resource_read'"
    action: allow
  - name: prompts
    condition: "action.type == 'prompt_get'"
    action: allow
  - name: questions-of-servers
    description: A person answers them, and sees what is asked
    condition: "action.type in ['elicitation', 'roots_list']"
    action: allow

output:
  secrets: redact
  cards: redact
  phi: redact
  pii: allow
  instructions: mark
  invisible: mark

tools:
  changes: approve
`;

const MODERATE = `\
# Everything is allowed but credentials and system files; who deletes or runs something asks a person first. Writing is
# noted. Extend it to deny more, or to name who approves.
version: "1.0"
name: moderate
description: Work is allowed, deletion and commands wait for a person, credentials are out of reach.
default: allow

rules:
${PATH_RULES}
  - name: approve-deletion
    description: It deletes something
    condition: "tool.name.matches('${DELETES}')"
    action: require_approval
  - name: approve-execution
    description: It runs a command, script or program
    condition: "tool.name.matches('${RUNS}')"
    action: require_approval
  - name: approve-secrets
    description: It hands out secrets
    condition: "tool.name.matches('${SECRETS}')"
    action: require_approval
  - name: approve-sampling
    description: A server wants to use the model of its client
    condition: "action.type == 'sampling'"
    action: require_approval
  - name: note-writes
    condition: "tool.name.matches('${WRITES}')"
    action: warn
  - name: note-secrets-out
    description: The arguments hold a key, token or password
    condition: "data.contains_secret"
    action: warn

output:
  secrets: redact
  cards: redact
  instructions: mark
  invisible: mark

tools:
  changes: warn
`;

const PERMISSIVE = `\
# Everything is allowed, and noted. Nothing is cut out of what comes back; text that speaks to the model is marked.
version: "1.0"
name: permissive
description: Everything is allowed and noted.
default: allow

rules:
  - name: note-everything
    action: log

output:
  instructions: mark

tools:
  changes: warn
`;

/** Their YAML texts, by the name that follows "agentmesh:". */
export const PRESETS = { strict: STRICT, moderate: MODERATE, permissive: PERMISSIVE } as const;
export type PresetName = keyof typeof PRESETS;
export const PRESET_NAMES = Object.keys(PRESETS) as readonly PresetName[];
export const isPresetName = (name: string): name is PresetName => Object.hasOwn(PRESETS, name);

/** A built-in policy as one to bring. What it says is its own text; whoever decides has that. */
export const presetSource = (name: PresetName): PolicySource => ({
  name,
  files: [{ path: `${name}.yaml`, text: `version: "1.0"\nname: ${name}\nextends: agentmesh:${name}\n` }],
});
