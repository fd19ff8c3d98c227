// A new password from whoever runs the command: typed twice without an echo, or one line of what is piped in; never an argument.
import { createInterface } from 'node:readline';
import { Writable } from 'node:stream';
import { badPassword } from '../api/auth/passwords.ts';
import { note } from './show.ts';
import { told } from './told.ts';

/** As a shell says of what Ctrl-C ended. */
const INTERRUPTED_EXIT = 130;

/** One that may be set; anything else is told. */
export async function newPassword(name: string): Promise<string> {
  const terminal = process.stdin.isTTY === true;
  // What is typed is drawn into nothing: readline still knows the keys that correct it.
  const lines = createInterface({ input: process.stdin, ...(terminal ? { output: new Writable({ write: (_chunk, _encoding, done) => done() }), terminal, historySize: 0 } : { terminal }) });
  const typed = lines[Symbol.asyncIterator]();
  let interrupted = false;
  lines.once('SIGINT', () => {
    interrupted = true;
    lines.close();
  });
  const ask = async (prompt: string): Promise<string | null> => {
    if (terminal) note(prompt);
    const { value, done } = await typed.next();
    if (terminal) note('\n');
    return done === true ? null : value;
  };
  try {
    const password = fit(await ask(`New password for ${name}: `));
    if (!terminal) return password;
    const again = await ask('Once more: ');
    if (again === null) throw nothing(terminal);
    if (again !== password) throw told('The two are not the same, so nothing was changed.', 'Run the command again.');
    return password;
  } catch (error) {
    throw interrupted ? Object.assign(told('Nothing was changed.'), { exit: INTERRUPTED_EXIT }) : error;
  } finally {
    lines.close();
    // A pipe whose other end stays open would keep the command from ending.
    process.stdin.unref?.();
  }

  function fit(password: string | null): string {
    if (password === null || password === '') throw nothing(terminal);
    const bad = badPassword(password);
    if (bad !== null) throw told(`${bad.message} Nothing was changed.`, bad.hint);
    return password;
  }
}

const nothing = (terminal: boolean): Error => (terminal ? told('No password was typed, so nothing was changed.') : told('No password came in, so nothing was changed.', 'Run the command at a terminal, or send the password as one line on its standard input.'));
