using System.Numerics.Tensors;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Training.Operations;

/// <summary>Layer normalisation and gates steered by a condition: AdaLN (VAR models/basic_var.py, AdaLNSelfAttn).</summary>
/// <remarks>A modulation is a (B, m C) matrix: chunk c of row b holds the C values that steer image b.</remarks>
public static class AdaLnOperation
{
    /// <summary>y = n(x) (1 + scale) + shift with n(x) = (x - mean) / sqrt(variance + epsilon), row by row.</summary>
    /// <param name="tape">The tape.</param>
    /// <param name="x">(B * rowsPerImage, C).</param>
    /// <param name="modulation">(B, m C).</param>
    /// <param name="scaleChunk">Chunk of the modulation that holds scale.</param>
    /// <param name="shiftChunk">Chunk of the modulation that holds shift.</param>
    /// <param name="epsilon">Added to the variance.</param>
    /// <returns>(B * rowsPerImage, C).</returns>
    public static Variable LayerNormModulate(
        this Tape tape, Variable x, Variable modulation, int scaleChunk, int shiftChunk, float epsilon)
    {
        int width = x.Value.Columns;
        int images = modulation.Value.Rows;
        int rows = x.Value.Rows / images;
        Matrix scale = Chunk(modulation.Value, scaleChunk, width);
        Variable y = tape.New(x.Value.Rows, width, x.NeedsGradient || modulation.NeedsGradient);
        tape.Kernels.LayerNormModulate(x.Value, scale, Chunk(modulation.Value, shiftChunk, width), rows, epsilon, y.Value);

        tape.Record(y, () =>
        {
            bool add = false;
            Matrix dx = x.NeedsGradient ? x.GradientTarget(out add) : default;
            bool steered = modulation.NeedsGradient;
            tape.Kernels.LayerNormGradient(
                x.Value, scale, rows, epsilon, y.Gradient, dx, add,
                steered ? Chunk(modulation.Gradient, scaleChunk, width) : default, steered ? Chunk(modulation.Gradient, shiftChunk, width) : default);
        });
        return y;
    }

    /// <summary>y = x + gate * branch, the gate being one row per image.</summary>
    /// <param name="tape">The tape.</param>
    /// <param name="x">(B * rowsPerImage, C).</param>
    /// <param name="branch">(B * rowsPerImage, C).</param>
    /// <param name="modulation">(B, m C).</param>
    /// <param name="gateChunk">Chunk of the modulation that holds the gate.</param>
    /// <returns>(B * rowsPerImage, C).</returns>
    public static Variable GatedResidual(this Tape tape, Variable x, Variable branch, Variable modulation, int gateChunk)
    {
        int width = x.Value.Columns;
        int images = modulation.Value.Rows;
        int rows = x.Value.Rows / images;
        Matrix gate = Chunk(modulation.Value, gateChunk, width);
        Variable y = tape.New(x.Value.Rows, width, x.NeedsGradient || branch.NeedsGradient || modulation.NeedsGradient);
        tape.Kernels.Pool.For(images, image =>
        {
            for (int i = image * rows; i < (image + 1) * rows; i++)
            {
                TensorPrimitives.MultiplyAdd(branch.Value.Row(i), gate.Row(image), x.Value.Row(i), y.Value.Row(i));
            }
        });
        tape.Record(y, () =>
        {
            bool add = false;
            Matrix dBranch = branch.NeedsGradient ? branch.GradientTarget(out add) : default;
            Matrix dGate = modulation.NeedsGradient ? Chunk(modulation.Gradient, gateChunk, width) : default;
            tape.Kernels.Pool.For(images, image =>
            {
                for (int i = image * rows; i < (image + 1) * rows; i++)
                {
                    ReadOnlySpan<float> dy = y.Gradient.Row(i);
                    if (add)
                    {
                        TensorPrimitives.MultiplyAdd(dy, gate.Row(image), dBranch.Row(i), dBranch.Row(i));
                    }
                    else if (dBranch.Buffer is not null)
                    {
                        TensorPrimitives.Multiply(dy, gate.Row(image), dBranch.Row(i));
                    }

                    if (dGate.Buffer is not null)
                    {
                        TensorPrimitives.MultiplyAdd(dy, branch.Value.Row(i), dGate.Row(image), dGate.Row(image));
                    }
                }
            });
            tape.PassOn(y, x);
        });
        return y;
    }

    /// <summary>y_b = x_b + offset for every row b: the blocks' own part of a shared modulation (ada_gss).</summary>
    /// <param name="tape">The tape.</param>
    /// <param name="x">(B, N).</param>
    /// <param name="offset">(…), N values in all.</param>
    /// <returns>(B, N).</returns>
    public static Variable AddToRows(this Tape tape, Variable x, Parameter offset)
    {
        Variable y = tape.New(x.Value.Rows, x.Value.Columns, x.NeedsGradient || offset.Trainable);
        for (int i = 0; i < x.Value.Rows; i++)
        {
            TensorPrimitives.Add(x.Value.Row(i), offset.Value.Span(), y.Value.Row(i));
        }

        tape.Record(y, () =>
        {
            if (offset.Trainable)
            {
                tape.Kernels.AddRows(y.Gradient, offset.Gradient.Span());
            }

            tape.PassOn(y, x);
        });
        return y;
    }

    private static Matrix Chunk(Matrix modulation, int chunk, int width) => modulation.SliceColumns(chunk * width, width);
}
