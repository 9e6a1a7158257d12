using Subquartic.Layers;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Training.Operations;

/// <summary>Rotary position embedding.</summary>
public static class RotaryOperation
{
    /// <summary>Turns queries and keys by the places of their tokens; values stay. The gradient turns back.</summary>
    /// <param name="tape">The tape.</param>
    /// <param name="qkv">Queries, keys and values side by side (B * L, 3C), tokens of all scales.</param>
    /// <param name="images">B.</param>
    /// <param name="heads">Heads; divides C.</param>
    /// <param name="rotary">The rotation.</param>
    /// <returns>(B * L, 3C).</returns>
    public static Variable Rotate(this Tape tape, Variable qkv, int images, int heads, RotaryEmbedding rotary)
    {
        ArgumentNullException.ThrowIfNull(tape);
        ArgumentNullException.ThrowIfNull(qkv);
        ArgumentNullException.ThrowIfNull(rotary);
        Variable y = tape.New(qkv.Value.Rows, qkv.Value.Columns, qkv.NeedsGradient);
        qkv.Value.Span().CopyTo(y.Value.Span());
        Turn(y.Value, back: false);
        tape.Record(y, () =>
        {
            // Nobody reads the gradient of y afterwards.
            Turn(y.Gradient, back: true);
            tape.PassOn(y, qkv);
        });
        return y;

        void Turn(Matrix matrix, bool back)
        {
            int width = matrix.Columns / 3;
            for (int third = 0; third < 2; third++)
            {
                HeadTensor x = HeadTensor.Interleaved(matrix.SliceColumns(third * width, width), images, heads);
                rotary.Rotate(x, 0, x, tape.Kernels.Pool, back);
            }
        }
    }
}
