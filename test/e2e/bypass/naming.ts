/** Other spellings of names and methods, for servers that fold them. */
import { call, request, table, type Trick } from './trick.ts';

const NAMES: Readonly<Record<string, string>> = {
  'in capitals': 'DELETE_FILE',
  'in title case': 'Delete_File',
  'full width': 'ｄｅｌｅｔｅ＿ｆｉｌｅ',
  'with a ligature': 'delete_ﬁle',
  'in mathematical letters': '𝐝𝐞𝐥𝐞𝐭𝐞_𝐟𝐢𝐥𝐞',
  'in monospace letters': '𝚍𝚎𝚕𝚎𝚝𝚎_𝚏𝚒𝚕𝚎',
  'in circles': 'ⓓⓔⓛⓔⓣⓔ_ⓕⓘⓛⓔ',
  'with a modifier letter': 'deleᵗe_file',
  'with a zero-width space': 'delete\u200b_file',
  'with a zero-width joiner': 'delete\u200d_file',
  'with a soft hyphen': 'delete\u00ad_file',
  'with a byte order mark': '\ufeffdelete_file',
  'with a variation selector': 'delete\ufe0f_file',
  'with a mark of direction': '\u202adelete_file\u202c',
  'with tags': `delete_file${String.fromCodePoint(0xe0041, 0xe007f)}`,
  'with a grapheme joiner': 'dele\u034fte_file',
  'with a Hangul filler': 'delete\u3164_file',
  'with a Mongolian separator': 'delete\u180e_file',
  'with control characters': 'delete_file\u0007\u009f',
  'with space before': ' delete_file',
  'with space behind': 'delete_file ',
  'with a no-break space': '\u00a0delete_file\u00a0',
  'with an ideographic space': '\u3000delete_file',
  'with a line end': 'delete_file\r\n',
  'with a NUL': 'delete_file\0',
  'all of it': ' \u200bＤEＬETE\u00ad_ﬁLE\ufeff ',
};

const METHODS: Readonly<Record<string, string>> = {
  'in capitals': 'TOOLS/CALL',
  'in title case': 'Tools/Call',
  'full width': 'ｔools／call',
  'with a long s': 'tool\u017f/call',
  'with a zero-width space': 'tools\u200b/call',
  'with space': ' tools/call ',
  'with a line end': 'tools/call\n',
  'with a NUL': 'tools/call\0',
};

export const NAMING: readonly Trick[] = [
  ...table(
    'fold',
    undefined,
    Object.fromEntries(Object.entries(NAMES).map(([how, name]) => [`tool ${how}`, () => call(name, {})])),
  ),
  ...table(
    'fold',
    undefined,
    Object.fromEntries(
      Object.entries(METHODS).map(([how, method]) => [`method ${how}`, () => request(method, { name: 'delete_file' })]),
    ),
  ),
  ...table('fold', undefined, {
    'prompt in capitals': () => request('prompts/get', { name: 'SECRET_PROMPT' }),
    'prompt with a zero-width space': () => request('prompts/get', { name: 'secret\u200b_prompt' }),
    'prompt by completion': () =>
      request('completion/complete', {
        ref: { type: 'ref/prompt', name: 'Secret_Prompt' },
        argument: { name: 'a', value: 'b' },
      }),
    'scheme in capitals': () => request('resources/read', { uri: 'VAULT://key' }),
    'scheme full width': () => request('resources/read', { uri: 'ｖault://key' }),
    'scheme with a soft hyphen': () => request('resources/read', { uri: 'va\u00adult://key' }),
    'scheme with space before': () => request('resources/read', { uri: ' vault://key' }),
    'method of resources in capitals': () => request('Resources/Read', { uri: 'vault://key' }),
    'method of prompts in capitals': () => request('PROMPTS/GET', { name: 'secret_prompt' }),
  }),
  ...table('python', undefined, {
    'the tool by its name': () => call('delete_file', {}),
    'the tool, again and again': () => Array.from({ length: 8 }, () => call('delete_file', {})),
    'the prompt by its name': () => request('prompts/get', { name: 'secret_prompt' }),
    'the prompt by completion': () =>
      request('completion/complete', {
        ref: { type: 'ref/prompt', name: 'secret_prompt' },
        argument: { name: 'a', value: 'b' },
      }),
  }),
];
