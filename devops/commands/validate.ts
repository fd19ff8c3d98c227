// `bkg validate`: the problems of a file, each with its line; needs no running bkg.
import { resolve } from 'node:path';
import { examine } from '../../reconciler/index.ts';
import { requireConfig, type Context } from '../context.ts';
import { note, paint, problemLine, write, writeJson } from '../show.ts';
import { codeOf, messageOf, told } from '../told.ts';

export async function validateFile(context: Context, file: string | null): Promise<number> {
  const config = file === null ? context.config : resolve(file);
  requireConfig({ ...context, config });
  const { problems } = await examine({ config, installation: context.installation, env: context.env }).catch((error: unknown) => { throw codeOf(error) === 'FileUnreadable' ? told(messageOf(error)) : error; });
  const errors = problems.filter((problem) => problem.severity === 'error').length;
  if (context.json) writeJson({ file: config, valid: errors === 0, problems });
  else {
    for (const problem of problems) write(problemLine(problem, config, process.cwd()));
    const warnings = problems.length - errors;
    const count = [`${errors} error${errors === 1 ? '' : 's'}`, ...(warnings > 0 ? [`${warnings} warning${warnings === 1 ? '' : 's'}`] : [])].join(', ');
    note(errors === 0 ? `${paint('green', 'valid', process.stderr)}${warnings > 0 ? `, ${count}` : ''}\n` : `${count}\n`);
  }
  return errors === 0 ? 0 : 1;
}
