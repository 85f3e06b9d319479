-- Purpose: take away what revision 0007 made; revision 0006 has no searches.
-- Parameters: none.
-- A row means: as before.
DROP VIEW siglip.label_scores;
DROP FUNCTION siglip.label_histogram(text, integer, text, jsonb, integer);
DROP FUNCTION siglip.count_labels(text, double precision, text, jsonb, integer);
DROP FUNCTION siglip.images_with_label(text, text, double precision, integer, text, jsonb, integer);
DROP FUNCTION siglip.check_label_set(text, double precision, siglip.models);
DROP FUNCTION siglip.least_similarity(double precision, double precision, double precision);
DROP FUNCTION siglip.search_embedded_text(
    text, @vector@.halfvec, integer, text, text, text, integer, integer, text, jsonb, double precision, bigint[], integer,
    siglip.search_position);
DROP FUNCTION siglip.search_cached_text(text, integer, text, jsonb, double precision, bigint[], integer, siglip.search_position);
DROP FUNCTION siglip.similar_images(
    bigint, integer, text, jsonb, double precision, integer, bigint[], integer, siglip.search_position);
DROP FUNCTION siglip.search_images(
    text, integer, text, jsonb, double precision, integer, double precision, bigint[], integer, siglip.search_position);
DROP FUNCTION siglip.search_images(
    @vector@.halfvec, integer, text, jsonb, double precision, integer, bigint[], integer, siglip.search_position);
DROP FUNCTION siglip.nearest_images(
    siglip.models, @vector@.halfvec, integer, text, jsonb, double precision, bigint, bigint[], integer, siglip.search_position);
DROP FUNCTION siglip.exact_images(
    siglip.models, @vector@.halfvec, integer, bigint, text, jsonb, bigint[], siglip.search_position);
DO $$
DECLARE
    name regproc;
BEGIN
    FOR name IN
        SELECT p.oid::regproc FROM pg_proc AS p
        WHERE p.pronamespace = 'siglip'::regnamespace AND p.proname ~ '^nearest_images_[0-9]+$'
    LOOP
        EXECUTE format('DROP FUNCTION %s', name);
    END LOOP;
END
$$;
DROP FUNCTION siglip.create_nearest_images(integer, integer);
DROP FUNCTION siglip.matches_query(text);
DROP FUNCTION siglip.exact_query(integer, text, boolean, boolean);
DROP FUNCTION siglip.graph_query(integer, integer);
DROP FUNCTION siglip.image_conditions(boolean, boolean, boolean);
DROP FUNCTION siglip.similarity(double precision);
DROP FUNCTION siglip.default_ef_search();
DROP TYPE siglip.search_position;
