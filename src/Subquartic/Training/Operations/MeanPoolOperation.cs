using System.Numerics.Tensors;

namespace Subquartic.Training.Operations;

/// <summary>The mean over the pixels of a feature map.</summary>
public static class MeanPoolOperation
{
    /// <summary>y_b = mean over all pixels of x_b.</summary>
    /// <param name="tape">The tape.</param>
    /// <param name="x">(B, H, W, C).</param>
    /// <returns>(B, C).</returns>
    public static Variable MeanPool(this Tape tape, Variable x)
    {
        ArgumentNullException.ThrowIfNull(tape);
        ArgumentNullException.ThrowIfNull(x);
        int pixels = x.Height * x.Width;
        Variable y = tape.New(x.Batch, x.Value.Columns, x.NeedsGradient);
        tape.Kernels.Pool.For(x.Batch, b =>
        {
            Span<float> mean = y.Value.Row(b);
            mean.Clear();
            for (int i = b * pixels; i < (b + 1) * pixels; i++)
            {
                TensorPrimitives.Add(mean, x.Value.Row(i), mean);
            }

            TensorPrimitives.Multiply(mean, 1f / pixels, mean);
        });
        tape.Record(y, () =>
        {
            var gradient = x.Gradient;
            tape.Kernels.Pool.For(x.Batch, b =>
            {
                for (int i = b * pixels; i < (b + 1) * pixels; i++)
                {
                    TensorPrimitives.MultiplyAdd(y.Gradient.Row(b), 1f / pixels, gradient.Row(i), gradient.Row(i));
                }
            });
        });
        return y;
    }
}
