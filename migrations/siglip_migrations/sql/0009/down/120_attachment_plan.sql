-- Purpose: take away what 120_attachment_plan.sql made.
-- Parameters: none.
-- A row means: as before.

DROP FUNCTION siglip.plan_attachment(siglip.attachments);
DROP FUNCTION siglip.hold_attached(regclass, boolean);
DROP FUNCTION siglip.base_type(oid);
DROP TYPE siglip.attachment_plan;
