"""Functions and triggers that guard orders and positions, as migration 0005 makes them.

Databases have them as they stand here: who changes a rule writes a migration that replaces the function (and says the
same in `domain.order_refusals`, which speaks for the tables in memory).
"""

from __future__ import annotations

ORDER_RULES = """
-- Forward only. A quarantined order may turn up at the venue after all; nothing else leaves a final state.
CREATE FUNCTION order_may_become(old_state text, new_state text) RETURNS boolean LANGUAGE sql IMMUTABLE
RETURN CASE old_state
    WHEN 'intent' THEN new_state <> 'intent'
    WHEN 'working' THEN new_state IN ('unknown', 'filled', 'canceled', 'rejected', 'expired')
    WHEN 'unknown' THEN new_state IN ('working', 'filled', 'canceled', 'rejected', 'expired', 'quarantined')
    WHEN 'quarantined' THEN new_state IN ('working', 'filled', 'canceled', 'rejected', 'expired')
    ELSE false END;

CREATE FUNCTION order_keeps_its_word() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.state <> OLD.state AND NOT order_may_become(OLD.state, NEW.state) THEN
        RAISE EXCEPTION 'order % is %: it does not become %', OLD.id, OLD.state, NEW.state
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'order_goes_forward';
    END IF;
    IF NEW.filled < OLD.filled OR NEW.reported_filled < OLD.reported_filled OR NEW.changed_at < OLD.changed_at
       OR (OLD.venue_order_id IS NOT NULL AND NEW.venue_order_id IS DISTINCT FROM OLD.venue_order_id) THEN
        RAISE EXCEPTION 'what is known of order % is not taken back', OLD.id
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'order_goes_forward';
    END IF;
    OLD.state := NEW.state;
    OLD.filled := NEW.filled;
    OLD.reported_filled := NEW.reported_filled;
    OLD.venue_order_id := NEW.venue_order_id;
    OLD.reason := NEW.reason;
    OLD.released_at := NEW.released_at;
    OLD.released_by := NEW.released_by;
    OLD.changed_at := NEW.changed_at;
    IF OLD IS DISTINCT FROM NEW THEN
        RAISE EXCEPTION 'what was ordered as % stays as it is', NEW.id
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'order_unchanged';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER keeps_its_word BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION order_keeps_its_word();

-- R1, for whoever inserts, by whatever statement. After the insert, not before: an insert that finds its leg there
-- (ON CONFLICT DO NOTHING) uses nothing up. The name of the broken rule tells callers what to say.
CREATE FUNCTION order_is_approved() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    given risk_approvals;
    switch trading_switch;
    rule text;
BEGIN
    SELECT * INTO given FROM risk_approvals WHERE id = NEW.approval_id FOR UPDATE;
    IF NEW.leg = 'entry' THEN
        SELECT * INTO STRICT switch FROM trading_switch FOR SHARE;
    END IF;
    rule := CASE
        WHEN NEW.state <> 'intent' OR NEW.filled <> 0 OR NEW.reported_filled <> 0 OR NEW.venue_order_id IS NOT NULL
            THEN 'orders_begin_as_intents'
        WHEN (given.source, given.source_hash, given.account, given.symbol)
             IS DISTINCT FROM (NEW.source, NEW.source_hash, NEW.account, NEW.symbol) THEN 'approval_is_of_this'
        WHEN NEW.leverage > given.leverage THEN 'leverage_is_approved'
        WHEN NEW.leg = 'entry' THEN entry_breaks(NEW, given, switch)
        ELSE exit_breaks(NEW, given) END;
    IF rule IS NOT NULL THEN
        RAISE EXCEPTION '% % of % % by % (approval %): refused by %',
            NEW.leg, NEW.side, NEW.quantity, NEW.symbol, NEW.source, NEW.approval_id, rule
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = rule;
    END IF;
    IF NEW.leg = 'entry' THEN
        UPDATE risk_approvals SET used_at = clock_timestamp(), used_by = NEW.id WHERE id = given.id;
    END IF;
    RETURN NULL;
END
$$;
CREATE FUNCTION entry_breaks(wanted orders, given risk_approvals, switch trading_switch) RETURNS text
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RETURN CASE
        WHEN switch.stopped OR wanted.stop_epoch <> switch.epoch THEN 'trading_is_not_stopped'
        WHEN given.used_at IS NOT NULL THEN 'approval_unused'
        WHEN given.expires_at <= clock_timestamp() THEN 'approval_unexpired'
        WHEN wanted.side <> given.side OR wanted.reduce_only <> given.reduce_only THEN 'side_is_approved'
        WHEN wanted.quantity > given.quantity THEN 'quantity_is_approved'
        WHEN given.limit_price IS NOT NULL AND (wanted.price IS NULL OR CASE wanted.side
            WHEN 'buy' THEN wanted.price > given.limit_price ELSE wanted.price < given.limit_price END)
            THEN 'price_is_approved' END;
END
$$;
-- No exit grows or turns anything: it closes at most what its source's entry filled, or the position that the source
-- opened and others added to. Where the approval itself was to reduce, at most what is left of it.
CREATE FUNCTION exit_breaks(wanted orders, given risk_approvals) RETURNS text
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    at_most numeric;
BEGIN
    IF NOT wanted.reduce_only THEN
        RETURN 'exits_only_reduce';
    ELSIF given.used_at IS NULL THEN
        RETURN 'exits_follow_an_entry';
    ELSIF (wanted.side = given.side) <> given.reduce_only THEN
        RETURN 'exits_are_on_the_other_side';
    ELSIF given.reduce_only THEN
        SELECT given.quantity - COALESCE(sum(CASE WHEN state IN ('intent', 'working', 'unknown', 'quarantined')
            THEN quantity ELSE GREATEST(filled, reported_filled) END), 0) INTO at_most
        FROM orders WHERE source = wanted.source AND id <> wanted.id;
    ELSE
        SELECT GREATEST(
            (SELECT filled FROM orders WHERE source = wanted.source AND leg = 'entry'),
            (SELECT abs(quantity) FROM positions WHERE source = wanted.source AND account = wanted.account
             AND symbol = wanted.symbol AND closed_at IS NULL AND (quantity > 0) = (given.side = 'buy'))) INTO at_most;
    END IF;
    RETURN CASE WHEN at_most IS NULL OR wanted.quantity > at_most THEN 'exits_close_what_is_open' END;
END
$$;
CREATE TRIGGER approved AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION order_is_approved();
CREATE TRIGGER books_moved_by_insert AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION books_moved();
CREATE TRIGGER books_moved_by_update AFTER UPDATE ON orders FOR EACH ROW
    WHEN (OLD.state <> NEW.state OR OLD.filled <> NEW.filled OR OLD.reported_filled <> NEW.reported_filled
          OR OLD.released_at IS DISTINCT FROM NEW.released_at) EXECUTE FUNCTION books_moved();
"""

ORDER_STEPS = """
-- Transaction 1 of an order, in one round trip. Locks: the run, the account, the switch, the order, its approval.
CREATE FUNCTION intend_order(wanted_fields jsonb, claim_id bigint, claim_fence bigint, max_intent_age_s float8)
RETURNS TABLE (created boolean, written orders) LANGUAGE plpgsql AS $$
DECLARE
    wanted orders := jsonb_populate_record(CAST(NULL AS orders), wanted_fields);
    held text;
BEGIN
    IF claim_id IS NOT NULL THEN
        PERFORM 1 FROM runs WHERE id = claim_id AND fence = claim_fence AND state = 'running'
            AND deadline > clock_timestamp() FOR SHARE;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'run % is no longer held under fence %', claim_id, claim_fence
                USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'run_is_held';
        END IF;
    END IF;
    PERFORM lock_account(wanted.account);
    SELECT o.* INTO written FROM orders o WHERE o.source = wanted.source AND o.leg = wanted.leg;
    created := NOT FOUND;
    IF created THEN
        INSERT INTO orders (client_order_id, approval_id, source, source_hash, account, leg, symbol, side, type,
                            quantity, leverage, price, trigger_price, reduce_only, stop_epoch)
        SELECT wanted.client_order_id, wanted.approval_id, wanted.source, wanted.source_hash, wanted.account,
               wanted.leg, wanted.symbol, wanted.side, wanted.type, wanted.quantity, wanted.leverage, wanted.price,
               wanted.trigger_price, wanted.reduce_only, s.epoch
        FROM trading_switch s FOR SHARE
        ON CONFLICT DO NOTHING RETURNING * INTO written;
        IF NOT FOUND THEN  -- by whoever did not lock the account: a statement typed by hand
            created := false;
            SELECT o.* INTO STRICT written FROM orders o WHERE o.source = wanted.source AND o.leg = wanted.leg;
        END IF;
    END IF;
    IF created AND wanted.leg = 'entry' THEN
        held := entries_held(written, max_intent_age_s);
        IF held IS NOT NULL THEN
            RAISE EXCEPTION '%', held USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'entries_held';
        END IF;
    END IF;
    RETURN NEXT;
END
$$;
CREATE FUNCTION entries_held(wanted orders, max_intent_age_s float8) RETURNS text LANGUAGE sql VOLATILE AS $$
    SELECT why FROM (
        SELECT 1 AS rank, 'the books of ' || account || ' are in doubt: ' || why AS why
        FROM account_books WHERE account = wanted.account AND why IS NOT NULL
        UNION ALL
        SELECT 2, 'order ' || id || ' (' || client_order_id || ') is unknown'
        FROM orders WHERE account = wanted.account AND state = 'unknown' AND released_at IS NULL
        UNION ALL
        SELECT 3, 'order ' || id || ' (' || client_order_id || ') was written down, and nobody said what became of it'
        FROM orders WHERE account = wanted.account AND state = 'intent' AND released_at IS NULL AND id <> wanted.id
          AND created_at < clock_timestamp() - make_interval(secs => max_intent_age_s)
        UNION ALL
        SELECT 4, 'order ' || id || ' of ' || symbol || ' is quarantined'
        FROM orders WHERE account = wanted.account AND state = 'quarantined' AND released_at IS NULL
          AND symbol = wanted.symbol AND leg = 'entry') AS found
    ORDER BY rank LIMIT 1
$$;

-- What is learned of an order. What is not new, or older than what is known, changes nothing.
CREATE FUNCTION settle_order(settled_id bigint, new_state text, new_reason text, known_as text, told_filled numeric)
RETURNS TABLE (moved boolean, written orders) LANGUAGE plpgsql AS $$
BEGIN
    SELECT o.* INTO written FROM orders o WHERE o.id = settled_id;
    moved := order_may_become(written.state, new_state);
    IF written.id IS NOT NULL AND (moved OR told_filled > written.reported_filled
                                   OR (written.venue_order_id IS NULL AND known_as IS NOT NULL)) THEN
        PERFORM lock_account(written.account);
        SELECT o.* INTO written FROM orders o WHERE o.id = settled_id;
        moved := order_may_become(written.state, new_state);
        UPDATE orders o SET
            state = CASE WHEN moved THEN new_state ELSE o.state END,
            reason = CASE WHEN moved THEN COALESCE(new_reason, o.reason) ELSE o.reason END,
            released_at = CASE WHEN moved THEN NULL ELSE o.released_at END,
            released_by = CASE WHEN moved THEN NULL ELSE o.released_by END,
            venue_order_id = COALESCE(o.venue_order_id, known_as),
            reported_filled = GREATEST(o.reported_filled, told_filled),
            changed_at = clock_timestamp()
        WHERE o.id = settled_id RETURNING o.* INTO written;
    END IF;
    RETURN QUERY SELECT COALESCE(moved, false), written WHERE written.id IS NOT NULL;
END
$$;
"""

POSITION_RULES = """
-- R5, and: a position is one round trip, that neither turns over nor opens again.
CREATE FUNCTION position_keeps_its_side() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.stop_price IS NOT NULL AND OLD.closed_at IS NULL
       AND (NEW.stop_price IS NULL OR CASE WHEN OLD.quantity > 0 THEN NEW.stop_price < OLD.stop_price
                                           ELSE NEW.stop_price > OLD.stop_price END) THEN
        RAISE EXCEPTION 'the stop of position % (% %) stands at %: it is not loosened to %',
            OLD.id, OLD.quantity, OLD.symbol, OLD.stop_price, COALESCE(CAST(NEW.stop_price AS text), 'none')
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'stops_only_tighten';
    END IF;
    IF (NEW.id, NEW.account, NEW.symbol) IS DISTINCT FROM (OLD.id, OLD.account, OLD.symbol)
       OR sign(NEW.quantity) <> sign(OLD.quantity) AND NEW.quantity <> 0
       OR OLD.closed_at IS NOT NULL AND NEW.closed_at IS DISTINCT FROM OLD.closed_at THEN
        RAISE EXCEPTION 'position % (% %) neither turns over nor opens again', OLD.id, OLD.quantity, OLD.symbol
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'positions_are_round_trips';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER keeps_its_side BEFORE UPDATE ON positions FOR EACH ROW EXECUTE FUNCTION position_keeps_its_side();
"""
