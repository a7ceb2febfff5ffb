// Which server answers a request: the one of the model that its body names.
// Written by `stackc compile`. DO NOT EDIT: change the spec and compile again. For njs 0.7.9 and later.
import crypto from 'crypto';
import stack from 'stack.js';

// SHA-256 of the key that a client shows, for the map in clients.conf, which holds no key itself.
function keyHash(r) {
    const authorization = r.headersIn['Authorization'];
    let key = r.headersIn['X-Api-Key'] || '';
    if (authorization) {
        const bearer = /^bearer +([^ ]+) *$/i.exec(authorization);
        key = bearer ? bearer[1] : '';
    }
    return crypto.createHash('sha256').update(key).digest('hex');
}

// Who counts as one client of the network: an address of IPv4, and a /64 of IPv6, since one host may have all of it.
function network(r) {
    const address = r.remoteAddress;
    const mapped = /^(?:::ffff:)?([0-9.]+)$/i.exec(address);
    if (mapped) {
        return mapped[1];
    }
    const halves = address.split('::');
    const groups = halves[0] === '' ? [] : halves[0].split(':');
    const rest = halves.length < 2 || halves[1] === '' ? [] : halves[1].split(':');
    while (groups.length + rest.length < 8) {
        groups.push('0');
    }
    return groups.concat(rest).slice(0, 4).join(':');
}

// Headers of a server that a client gets; the gateway's own are added afterwards.
const PASSED = ['content-type', 'content-length', 'content-encoding', 'transfer-encoding', 'cache-control', 'date'];

function scrub(r) {
    Object.keys(r.headersOut).forEach(function (name) {
        if (PASSED.indexOf(name.toLowerCase()) < 0) {
            delete r.headersOut[name];
        }
    });
}

function answer(r, status, value) {
    r.headersOut['Content-Type'] = 'application/json';
    r.return(status, JSON.stringify(value) + '\n');
}

function refuse(r, status, message, code) {
    const type = status < 500 ? 'invalid_request_error' : 'server_error';
    r.variables.stackc_error = code;
    const param = code === 'model_not_found' ? 'model' : null;
    answer(r, status, { error: { message: message, type: type, param: param, code: code } });
}

function denied(r) {
    refuse(r, 401, 'no valid key: send `Authorization: Bearer KEY`', 'invalid_api_key');
}

// The body as an object; undefined after an answer that says what is wrong with it.
function readBody(r) {
    let text, body;
    try {
        text = r.requestText;
    } catch (error) {
        refuse(r, 413, 'the body is too large to be read: send it with a Content-Length', 'body_too_large');
        return undefined;
    }
    try {
        body = JSON.parse(text || '');
    } catch (error) {
        const deep = String(error.message).indexOf('too deep') >= 0;
        const message = deep ? 'the body is nested too deeply: 32 levels are read' : 'the body is not valid JSON';
        refuse(r, 400, message, 'invalid_json');
        return undefined;
    }
    if (body === null || typeof body !== 'object' || Array.isArray(body)) {
        refuse(r, 400, 'the body is not a JSON object', 'invalid_json');
        return undefined;
    }
    return body;
}

function own(object, key) {
    return Object.prototype.hasOwnProperty.call(object, key) ? object[key] : undefined;
}

function route(r) {
    const body = readBody(r);
    if (body === undefined) {
        return;
    }
    const model = own(body, 'model');
    if (typeof model !== 'string') {
        refuse(r, 400, 'the body names no model: set "model" to one that /v1/models lists', 'model_required');
        return;
    }
    if (!isAllowed(r, model)) {
        const team = r.variables.stackc_client;
        refuse(r, 403, 'the keys of ' + team + ' are not for the model ' + shortened(model), 'model_not_allowed');
        return;
    }
    const location = own(stack.paths[r.uri], model);
    if (location !== undefined) {
        r.internalRedirect(location);
    } else if (own(stack.models, model) !== undefined) {
        refuse(r, 404, 'the model ' + model + ' does not serve ' + r.uri, 'model_not_found');
    } else {
        unknown(r, model);
    }
}

// Whether the key's team may ask for it; a name that nobody has is told as such to everybody.
function isAllowed(r, model) {
    const models = own(stack.teams || {}, r.variables.stackc_client);
    return models === undefined || models.indexOf(model) >= 0 || own(stack.models, model) === undefined;
}

function shortened(model) {
    return JSON.stringify(model.length > 100 ? model.substring(0, 100) + '…' : model);
}

function unknown(r, model) {
    refuse(r, 404, 'there is no model ' + shortened(model) + ': /v1/models lists those there are', 'model_not_found');
}

function card(name) {
    const model = stack.models[name];
    const created = Math.floor(Date.now() / 1000);
    return { id: name, object: 'model', created: created, owned_by: model.owned_by, max_model_len: model.max_model_len };
}

function names(r) {
    return Object.keys(stack.models).filter(function (name) {
        return isAllowed(r, name);
    });
}

function models(r) {
    answer(r, 200, { object: 'list', data: names(r).map(card) });
}

function model(r) {
    const name = r.uri.substring('/v1/models/'.length);
    if (names(r).indexOf(name) >= 0) {
        answer(r, 200, card(name));
    } else {
        unknown(r, name);
    }
}

// The last of what nginx lists for each server that it asked.
function last(list) {
    return String(list).split(/(?:,| :) /).pop();
}

// How many servers are asked in place of one, beside those that nginx itself tries.
const MOST_AGAIN = 3;

// Where a model has several servers, and none has begun with the request, another one is asked. True if so.
function again(r) {
    const members = String(r.variables.stackc_members || '').split(' ');
    const asked = r.variables.stackc_asked ? r.variables.stackc_asked.split(' ') : [];
    const tried = asked.concat(String(r.variables.upstream_addr).split(/(?:,| :) /));
    const left = members.filter(function (member) {
        return member !== '' && tried.indexOf(member) < 0;
    });
    if (left.length === 0 || asked.length >= MOST_AGAIN) {
        return false;
    }
    const next = left[Math.floor(Math.random() * left.length)];
    r.variables.stackc_asked = asked.concat(next).join(' ');
    r.variables.stackc_again = next;
    r.internalRedirect('@again');
    return true;
}

// The server gave no answer, or none that is meant for a client.
function unanswered(r) {
    const name = r.variables.stackc_service;
    const status = last(r.variables.upstream_status);
    const isReached = /[0-9]/.test(last(r.variables.upstream_connect_time));
    // 503 is a server's word that it takes nothing now: it loads, or is about to end.
    if ((!isReached || status === '503') && again(r)) {
        return;
    }
    if (status === '503') {
        refuse(r, 503, 'no server of ' + name + ' takes requests now', 'server_unavailable');
    } else if (status === '401') {
        refuse(r, 502, 'the server ' + name + ' refuses the key of the gateway: both must have the same', 'gateway_key_refused');
    } else if (!isReached) {
        refuse(r, 503, 'the server ' + name + ' is not reachable: it is starting, or it has stopped', 'server_unavailable');
    } else if (status === '504') {
        refuse(r, 504, 'the server ' + name + ' was silent for too long', 'server_timeout');
    } else {
        refuse(r, 502, 'the server ' + name + ' broke off before it answered; it was not asked again', 'server_error');
    }
}

export default { keyHash, network, scrub, denied, route, models, model, unanswered };
