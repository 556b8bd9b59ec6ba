import { describe, expect, test } from 'vitest';
import { lintPolicy, parsePolicy, PRESETS, type PresetName } from '../../../protocol/policy/index.ts';
import { context, decide, NOTHING, policy, tool } from './sample.ts';

const parsed = Object.fromEntries(
  Object.entries(PRESETS).map(([name, text]) => [name, parsePolicy(text, { name })]),
) as Record<PresetName, ReturnType<typeof parsePolicy>>;

const READING =
  'read_file read_text_file read_media_file read_multiple_files list_directory list_directory_with_sizes directory_tree search_files get_file_info list_allowed_directories get_issue list_commits search_code search_repositories get_file_contents get_pull_request get_me readFile mcp__filesystem__read_file describe_table'.split(
    ' ',
  );
const WRITING =
  'write_file edit_file create_directory move_file create_issue push_files merge_pull_request create_or_update_file fork_repository add_issue_comment'.split(
    ' ',
  );
const DELETING =
  'delete_file remove_directory delete_branch rm deleteFile read_and_delete drop_table truncate_table'.split(' ');
const RUNNING =
  'run_command execute_command shell bash run_shell start_process interact_with_process kill_process run_terminal_cmd execute_sql eval browser_evaluate'.split(
    ' ',
  );
const SECRET = 'get_secret_value read_password list_api_keys get-env'.split(' ');
const PATHS =
  '/etc/passwd /etc/shadow /proc/self/environ /root /people/u/.ssh/id_rsa /people/u/.SSH/config /people/u/.aws/credentials /people/u/app/.env /people/u/app/.env.local /people/u/key.pem /people/u/x/id_ed25519 /people/u/.agentmesh/keys/a /private/etc/hosts C:/Windows/System32/config/SAM /people/u/.config/gh/hosts.yml /people/u/.netrc /srv/secrets.yaml'.split(
    ' ',
  );
const HARMLESS =
  '/people/u/app/readme.md /srv/data/environment.ts /tmp/etc/x /people/u/rooted/x /people/u/keys.md /var/log/syslog'.split(
    ' ',
  );

const effectsOf = (name: PresetName, names: readonly string[]): Record<string, string> =>
  Object.fromEntries(names.map((each) => [each, decide(parsed[name], tool(each)).effect]));
const all = (names: readonly string[], effect: string): Record<string, string> =>
  Object.fromEntries(names.map((each) => [each, effect]));

describe('strict', () => {
  test('allows what reads by its name, and nothing else', () => {
    expect(effectsOf('strict', READING)).toEqual(all(READING, 'allow'));
    for (const names of [WRITING, DELETING, RUNNING, SECRET, ['fetch', 'ready', 'query', 'anything']])
      expect(effectsOf('strict', names)).toEqual(all(names, 'deny'));
  });
  test('allows resources and prompts, and no sampling', () => {
    const effect = (action: string, more: object = {}): string => decide(parsed.strict, { action, ...more }).effect;
    expect(effect('resource_read', { resource: { uri: 'demo://x', scheme: 'demo' } })).toBe('allow');
    expect(effect('resource_read', { resource: { uri: 'file:///etc/passwd', paths: ['/etc/passwd'] } })).toBe('deny');
    expect(effect('resource_read', { resource: { uri: 'FILE:///etc/passwd' } })).toBe('deny');
    expect(effect('prompt_get', { prompt: { name: 'x', paths: [] } })).toBe('allow');
    expect(effect('sampling')).toBe('deny');
    expect(effect('tools_list')).toBe('allow');
  });
  test('keeps secrets from going out', () => {
    const found = { ...NOTHING, contains_secret: true, labels: ['secret.jwt'] };
    expect(decide(parsed.strict, context(tool('search_code'), { detected: found })).rule).toBe('no-secrets-out');
  });
  test('can be extended to allow writing in a folder, as its comment says', () => {
    const text = PRESETS.strict
      .split('\n')
      .filter((line) => /^# {3}/.test(line))
      .map((line) => line.slice(4))
      .join('\n');
    const own = parsePolicy(text, { name: 'own' });
    expect(decide(own, tool('write_file', {}, ['/srv/reports/a'])).effect).toBe('allow');
    expect(decide(own, tool('write_file', {}, ['/srv/reports/a', '/srv/x'])).effect).toBe('deny');
    expect(decide(own, tool('write_file', {}, ['/srv/reports/.env'])).rule).toBe('no-credentials');
    expect(decide(own, tool('read_file')).effect).toBe('allow');
  });
});

describe('moderate', () => {
  test('allows reading and writing, which it notes, and asks before it deletes, runs or hands out secrets', () => {
    expect(effectsOf('moderate', [...READING, ...WRITING])).toEqual(all([...READING, ...WRITING], 'allow'));
    for (const name of WRITING)
      expect(decide(parsed.moderate, tool(name)).matched, name).toMatchObject([
        { rule: 'note-writes', action: 'warn' },
      ]);
    for (const names of [DELETING, RUNNING, SECRET])
      expect(effectsOf('moderate', names)).toEqual(all(names, 'require_approval'));
  });
});

describe.each(['strict', 'moderate'] as const)('%s', (name) => {
  test('keeps credentials and system files out of reach, among whatever other paths', () => {
    for (const path of PATHS)
      expect(decide(parsed[name], tool('read_file', {}, ['/tmp/x', path])).effect, path).toBe('deny');
    for (const path of HARMLESS) expect(decide(parsed[name], tool('read_file', {}, [path])).effect, path).toBe('allow');
  });
  test('keeps prompts from carrying such paths', () => {
    const prompt = (paths: readonly string[]) => ({ action: 'prompt_get', prompt: { name: 'review', paths } });
    expect(decide(parsed[name], prompt(['/etc/passwd']))).toMatchObject({
      effect: 'deny',
      rule: 'no-system-files-as-prompts',
    });
    expect(decide(parsed[name], prompt([])).effect).toBe('allow');
  });
  test('denies a tool whose paths nobody looked at', () => {
    expect(decide(parsed[name], { action: 'tool_call', tool: { name: 'read_file' } }).effect).toBe('deny');
  });
  test('lists a tool that may be called with some arguments', () => {
    const listed = { action: 'tool_call', tool: { name: 'read_file' } };
    expect(decide(parsed[name], listed, { mode: 'possible' }).effect).toBe('allow');
  });
  test('cuts out secrets and marks what speaks to the model', () => {
    expect(parsed[name].output).toMatchObject({ secrets: 'redact', cards: 'redact', instructions: 'mark' });
  });
});

test('permissive allows everything, notes it and cuts out nothing', () => {
  for (const name of [...READING, ...WRITING, ...DELETING, ...RUNNING])
    expect(decide(parsed.permissive, tool(name, {}, ['/etc/passwd']))).toMatchObject({
      effect: 'allow',
      matched: [{ rule: 'note-everything', action: 'log' }],
    });
  expect(parsed.permissive.output).toMatchObject({ secrets: 'allow', pii: 'allow', instructions: 'mark' });
});

test('each can be copied, extended by its name, and has nothing that lint finds', () => {
  for (const [name, text] of Object.entries(PRESETS)) {
    expect(parsed[name as PresetName].name).toBe(name);
    expect(lintPolicy(parsePolicy(text, { name })), name).toEqual([]);
    expect(policy(`extends: agentmesh:${name}`).rules).toHaveLength(parsed[name as PresetName].rules.length);
  }
  expect(parsed.strict.pins.changes).toBe('approve');
});
