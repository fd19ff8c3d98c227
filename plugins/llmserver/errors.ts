// Errors in OpenAI's shape: thrown where something is wrong with a request, written at the one edge that answers it.

export type ApiFault = { readonly status: number; readonly code: string; readonly message: string; readonly param?: string | undefined; readonly retryAfter_s?: number };
export type ApiFailure = Error & { readonly fault: ApiFault };

/** Ends the request with this answer. */
export const fail = (fault: ApiFault): ApiFailure => Object.assign(new Error(fault.message), { fault });
export const badRequest = (message: string, param?: string, code = 'invalid_request'): ApiFailure => fail({ status: 400, code, message, param });
export const isFailure = (error: unknown): error is ApiFailure => error instanceof Error && 'fault' in error;

export const bodyOf = (fault: ApiFault): string => JSON.stringify({
  error: {
    message: fault.message,
    type: fault.status === 401 ? 'authentication_error' : fault.status === 429 ? 'rate_limit_error' : fault.status < 500 ? 'invalid_request_error' : 'server_error',
    code: fault.code,
    param: fault.param ?? null,
  },
});

export const modelNotLoaded = (kind: 'chat' | 'embedding'): ApiFailure => fail({
  status: 503, code: 'model_not_loaded',
  message: `No ${kind} model was given to this server. Assign one in bkg.yaml: models: { ${kind}: <name> }.`,
});

/** A setting or file of the owner is wrong: trying again will not help. */
export const settingFault = (message: string): Error & { readonly setting: true } => Object.assign(new Error(message), { setting: true as const });
export const isSettingFault = (error: unknown): boolean => error instanceof Error && 'setting' in error;
