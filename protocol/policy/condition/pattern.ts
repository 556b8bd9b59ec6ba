/**
 * Regular expressions of conditions: RE2's, which take time linear in the text whatever pattern and text are, because both
 * may be somebody else's.
 */
import { RE2JS, RE2JSException } from 're2js';
import { CONDITION_PATTERN_PROGRAM_MAX, CONDITION_PATTERN_TEXT_MAX } from '../../limits.ts';

export interface Pattern {
  readonly source: string;
  /** What a letter costs, measured in steps of an evaluation (CONDITION_STEPS_MAX). */
  readonly stepsALetter: number;
  /** Somewhere in the text, as in CEL. */
  isIn(text: string): boolean;
}

/** Says what is wrong with it instead, for an error that knows where it stands. */
export function compilePattern(source: string, isCaseIgnored: boolean): Pattern | { readonly wrong: string } {
  if (source.length > CONDITION_PATTERN_TEXT_MAX)
    return { wrong: `a pattern of ${source.length} characters, want at most ${CONDITION_PATTERN_TEXT_MAX}` };
  let regex: RE2JS;
  try {
    regex = RE2JS.compile(source, isCaseIgnored ? RE2JS.CASE_INSENSITIVE : 0);
  } catch (error) {
    if (!(error instanceof RE2JSException)) throw error;
    return { wrong: `a pattern that RE2 does not take (${error.message})` };
  }
  if (regex.programSize() > CONDITION_PATTERN_PROGRAM_MAX)
    return { wrong: `a pattern of ${regex.programSize()} instructions, want at most ${CONDITION_PATTERN_PROGRAM_MAX}` };
  const stepsALetter = Math.max(STEPS_A_LETTER_MIN, regex.programSize() * STEPS_AN_INSTRUCTION);
  return { source, stepsALetter, isIn: (text) => regex.test(text) };
}

const STEPS_A_LETTER_MIN = 1 / 4;
const STEPS_AN_INSTRUCTION = 1 / 128;
