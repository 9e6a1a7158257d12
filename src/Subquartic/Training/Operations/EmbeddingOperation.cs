using System.Numerics.Tensors;
using Subquartic.Generation;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Training.Operations;

/// <summary>Look-up tables: classes, positions, levels.</summary>
public static class EmbeddingOperation
{
    /// <summary>y_b = table[labels_b].</summary>
    /// <param name="tape">The tape.</param>
    /// <param name="table">(entries, C).</param>
    /// <param name="labels">B indices.</param>
    /// <param name="trained">The entries that are trained; null for all.</param>
    /// <returns>(B, C).</returns>
    /// <exception cref="ArgumentException">An index is outside the table.</exception>
    public static Variable LookUp(this Tape tape, Parameter table, ReadOnlyMemory<int> labels, Range? trained = null)
    {
        (int first, int count) = (trained ?? ..).GetOffsetAndLength(table.Matrix.Rows);
        Variable y = tape.New(labels.Length, table.Matrix.Columns, table.Trainable);
        for (int b = 0; b < labels.Length; b++)
        {
            int label = labels.Span[b];
            if ((uint)label >= (uint)table.Matrix.Rows)
            {
                throw new ArgumentException($"Index {label} is outside {table.Name}, which has {table.Matrix.Rows} rows.", nameof(labels));
            }

            table.Matrix.Row(label).CopyTo(y.Value.Row(b));
        }

        tape.Record(y, () =>
        {
            for (int b = 0; b < labels.Length; b++)
            {
                if (labels.Span[b] >= first && labels.Span[b] < first + count)
                {
                    Span<float> target = table.GradientMatrix.Row(labels.Span[b]);
                    TensorPrimitives.Add(target, y.Gradient.Row(b), target);
                }
            }
        });
        return y;
    }

    /// <summary>The transformer's input sequence: tokens of the first scale are the class embedding plus a start embedding, later tokens are embedded
    /// feature maps; all get their position and level (VAR models/var.py, VAR.forward).</summary>
    /// <param name="tape">The tape.</param>
    /// <param name="words">Embedded feature maps (B * (L - n_1), C).</param>
    /// <param name="condition">Class embeddings (B, C).</param>
    /// <param name="start">pos_start (1, n_1, C).</param>
    /// <param name="positions">pos_1LC (1, L, C).</param>
    /// <param name="levels">lvl_embed (K, C).</param>
    /// <param name="scales">The schedule.</param>
    /// <param name="known">B * L marks: known tokens get their level twice; empty where none is known.</param>
    /// <returns>(B * L, C).</returns>
    public static Variable TokenSequence(
        this Tape tape, Variable words, Variable condition, Parameter start, Parameter positions, Parameter levels, ScaleSchedule scales,
        ReadOnlyMemory<bool> known = default)
    {
        int images = condition.Value.Rows;
        int tokens = scales.Tokens;
        int first = scales[0].Tokens;
        int width = condition.Value.Columns;
        Matrix position = positions.Value.Matrix(tokens, width);
        Matrix begin = start.Value.Matrix(first, width);
        Variable y = tape.New(images * tokens, width, needsGradient: true);
        ForEachToken(scales, images, (image, token, scale) =>
        {
            Span<float> target = y.Value.Row((image * tokens) + token);
            TensorPrimitives.Add(position.Row(token), levels.Matrix.Row(scale), target);
            if (IsKnown(image, token))
            {
                TensorPrimitives.Add(target, levels.Matrix.Row(scale), target);
            }

            if (token < first)
            {
                TensorPrimitives.Add(target, condition.Value.Row(image), target);
                TensorPrimitives.Add(target, begin.Row(token), target);
            }
            else
            {
                TensorPrimitives.Add(target, words.Value.Row((image * (tokens - first)) + token - first), target);
            }
        });
        tape.Record(y, () => ForEachToken(scales, images, (image, token, scale) =>
        {
            ReadOnlySpan<float> dy = y.Gradient.Row((image * tokens) + token);
            AddTo(positions.Trainable ? positions.Gradient.Matrix(tokens, width).Row(token) : [], dy);
            AddTo(levels.Trainable ? levels.GradientMatrix.Row(scale) : [], dy);
            AddTo(levels.Trainable && IsKnown(image, token) ? levels.GradientMatrix.Row(scale) : [], dy);
            if (token < first)
            {
                AddTo(condition.NeedsGradient ? condition.Gradient.Row(image) : [], dy);
                AddTo(start.Trainable ? start.Gradient.Matrix(first, width).Row(token) : [], dy);
            }
            else
            {
                AddTo(words.NeedsGradient ? words.Gradient.Row((image * (tokens - first)) + token - first) : [], dy);
            }
        }));
        return y;

        bool IsKnown(int image, int token) => !known.IsEmpty && known.Span[(image * tokens) + token];
    }

    private static void AddTo(Span<float> target, ReadOnlySpan<float> values)
    {
        if (!target.IsEmpty)
        {
            TensorPrimitives.Add(target, values, target);
        }
    }

    private static void ForEachToken(ScaleSchedule scales, int images, Action<int, int, int> action)
    {
        for (int image = 0; image < images; image++)
        {
            for (int scale = 0; scale < scales.Count; scale++)
            {
                for (int token = scales.Start(scale); token < scales.Start(scale + 1); token++)
                {
                    action(image, token, scale);
                }
            }
        }
    }
}
