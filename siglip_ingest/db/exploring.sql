-- In all of these collection and filter (JSON) are NULL for no restriction, and model_id for the active model.

-- name: find_relevant
-- Finds all images whose score (0 to 1) for a vector reaches min_score, best first.
SELECT r.image_id, r.uri, r.similarity, r.score, r.metadata
FROM siglip.relevant_images(
    query_embedding => %(embedding)b, min_score => %(min_score)s::double precision, collection => %(collection)s::text,
    filter => %(filter)s::jsonb, model_id => %(model_id)s::integer) AS r;

-- name: find_diverse
-- Finds the limit images nearest to a vector, best first, without those whose similarity to a better one is above max_similarity (0 to 1).
SELECT r.image_id, r.uri, r.similarity, r.score, r.metadata
FROM siglip.diverse_images(
    query_embedding => %(embedding)b, max_results => %(limit)s::integer, max_similarity => %(max_similarity)s::double precision,
    collection => %(collection)s::text, filter => %(filter)s::jsonb, min_score => %(min_score)s::double precision,
    model_id => %(model_id)s::integer) AS r;

-- name: find_diverse_like
-- Finds the limit images most similar to an indexed one, as find_diverse does; that one isn't among the rows.
SELECT r.image_id, r.uri, r.similarity, r.score, r.metadata
FROM siglip.diverse_images(
    image_id => %(image_id)s::bigint, max_results => %(limit)s::integer, max_similarity => %(max_similarity)s::double precision,
    collection => %(collection)s::text, filter => %(filter)s::jsonb, min_score => %(min_score)s::double precision) AS r;

-- name: find_labelled
-- Finds the images that have all labels of all_of, one of any_of and none of none_of, best first; at most limit, NULL for all. min_score
-- (0 to 1) is NULL for each label's own rule.
SELECT r.image_id, r.uri, r.score, r.metadata, r.scores
FROM siglip.images_with_labels(
    label_set => %(label_set)s::text, all_of => %(all_of)s::text[], any_of => %(any_of)s::text[], none_of => %(none_of)s::text[],
    min_score => %(min_score)s::double precision, max_results => %(limit)s::integer, collection => %(collection)s::text,
    filter => %(filter)s::jsonb) AS r;

-- name: find_last_content
-- Returns the last content of an image, NULL where there is none.
SELECT pg_catalog.max(i.content_id) FROM siglip.images AS i;

-- name: find_near_duplicates
-- Finds pairs of images whose similarity reaches min_similarity, most alike first, of which the content with the smaller id lies after
-- after_content_id and up to up_to_content_id.
SELECT r.image_id, r.other_image_id, r.similarity, r.is_same_content
FROM siglip.near_duplicates(
    min_similarity => %(min_similarity)s::double precision, collection => %(collection)s::text, filter => %(filter)s::jsonb,
    max_pairs => NULL, after_content_id => %(after_content_id)s::bigint, up_to_content_id => %(up_to_content_id)s::bigint,
    model_id => %(model_id)s::integer) AS r;

-- name: find_duplicate_groups
-- Finds the groups of images that pairs of a similarity of min_similarity connect, largest first; the first of image_ids has the most pixels.
SELECT r.image_ids, r.least_similarity
FROM siglip.duplicate_groups(
    min_similarity => %(min_similarity)s::double precision, collection => %(collection)s::text, filter => %(filter)s::jsonb) AS r;

-- name: find_representatives
-- Finds count images that stand for all, with the number of images of each and their mean similarity to it.
SELECT r.image_id, r.uri, r.images, r.similarity, r.metadata
FROM siglip.representatives(
    count => %(count)s::integer, collection => %(collection)s::text, filter => %(filter)s::jsonb,
    sample_size => %(sample_size)s::integer, seed => %(seed)s::integer) AS r;
