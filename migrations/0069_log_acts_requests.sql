-- What an operator asks for through the gateway may be asked for again: a request is found by its id.
create index acts_request on log.acts ((said ->> 'request')) where said ? 'request';
