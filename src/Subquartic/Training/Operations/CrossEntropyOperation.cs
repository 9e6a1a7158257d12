using System.Numerics.Tensors;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Training.Operations;

/// <summary>The transformer's loss.</summary>
public static class CrossEntropyOperation
{
    /// <summary>loss_i = (1 - s) (lse(x_i) - x_i[t_i]) + s (lse(x_i) - mean(x_i)), the cross-entropy with label smoothing s, and adds the gradient of the weighted mean over all rows that have a target to
    /// <paramref name="logits"/> (VAR trainer.py; torch.nn.CrossEntropyLoss).</summary>
    /// <param name="tape">The tape.</param>
    /// <param name="logits">(N, V).</param>
    /// <param name="targets">N token ids; -1 for rows that do not count, whose loss is 0.</param>
    /// <param name="smoothing">s, 0 to 1.</param>
    /// <param name="losses">N, output: the loss of each row.</param>
    /// <param name="hits">N, output: whether the largest logit is the target's.</param>
    /// <param name="weights">N weights of the rows in the mean; empty for equal ones.</param>
    /// <exception cref="ArgumentException">Sizes differ or a target is outside the vocabulary.</exception>
    public static void CrossEntropy(
        this Tape tape, Variable logits, ReadOnlyMemory<int> targets, double smoothing, Memory<float> losses, Memory<bool> hits,
        ReadOnlyMemory<float> weights = default)
    {
        int rows = logits.Value.Rows;
        int vocabulary = logits.Value.Columns;
        if (targets.Length != rows || losses.Length != rows || hits.Length != rows || (!weights.IsEmpty && weights.Length != rows))
        {
            throw new ArgumentException(
                $"{rows} rows of logits, but {targets.Length} targets, {weights.Length} weights and room for {losses.Length} losses and {hits.Length} hits.");
        }

        double total = 0;
        for (int i = 0; i < rows; i++)
        {
            int target = targets.Span[i];
            total += target < 0 ? 0 : Weight(i);
            if (target < -1 || target >= vocabulary)
            {
                throw new ArgumentException($"Target {target} is outside the vocabulary of {vocabulary}.", nameof(targets));
            }
        }

        bool add = false;
        Matrix gradient = logits.NeedsGradient ? logits.GradientTarget(out add) : default;
        tape.Kernels.Pool.For(rows, i =>
        {
            ReadOnlySpan<float> x = logits.Value.Row(i);
            int target = targets.Span[i];
            if (target < 0)
            {
                losses.Span[i] = 0;
                hits.Span[i] = false;
                if (gradient.Buffer is not null && !add)
                {
                    gradient.Row(i).Clear();
                }

                return;
            }

            using var scratch = Numerics.Threading.Scratch.Rent(vocabulary);
            Span<float> p = scratch.Buffer.Span(0, vocabulary);
            int best = TensorPrimitives.IndexOfMax(x);
            TensorPrimitives.Subtract(x, x[best], p);
            tape.Kernels.Exp(p, p);
            float sum = TensorPrimitives.Sum<float>(p);
            double logSum = Math.Log(sum) + x[best];
            double mean = smoothing == 0 ? 0 : TensorPrimitives.Sum(x) / vocabulary;
            losses.Span[i] = (float)(((1 - smoothing) * (logSum - x[target])) + (smoothing == 0 ? 0 : smoothing * (logSum - mean)));
            hits.Span[i] = best == target;
            if (gradient.Buffer is not null)
            {
                // d loss / d x = softmax(x) - ((1 - s) onehot + s / V), times the row's share of all weights.
                double share = Weight(i) / total;
                Span<float> dx = gradient.Row(i);
                if (add)
                {
                    TensorPrimitives.MultiplyAdd(p, (float)(share / sum), dx, dx);
                }
                else
                {
                    TensorPrimitives.Multiply(p, (float)(share / sum), dx);
                }

                if (smoothing > 0)
                {
                    TensorPrimitives.Subtract(dx, (float)(smoothing / vocabulary * share), dx);
                }

                dx[target] -= (float)((1 - smoothing) * share);
            }
        });

        double Weight(int row) => weights.IsEmpty ? 1 : weights.Span[row];
    }
}
