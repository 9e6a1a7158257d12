using System.Numerics.Tensors;
using Subquartic.Training.Operations;

namespace Subquartic.Training;

/// <summary>How far reconstructions are from their pictures: mean |y - x| + mean (y - x)^2, plus a perceptual loss if wanted.</summary>
/// <param name="L1">Mean |y - x|.</param>
/// <param name="L2">Mean (y - x)^2.</param>
/// <param name="Perceptual">The perceptual loss, its weight included; null for none.</param>
internal readonly record struct ReconstructionLoss(double L1, double L2, double? Perceptual)
{
    /// <summary>What is minimised.</summary>
    public double Total => L1 + L2 + (Perceptual ?? 0);

    /// <summary>The measures that a training reports.</summary>
    public Dictionary<string, double> Measures
    {
        get
        {
            var measures = new Dictionary<string, double> { ["l1"] = L1, ["psnr"] = 10 * Math.Log10(4 / Math.Max(L2, 1e-12)) };
            if (Perceptual is { } perceptual)
            {
                measures["perceptual"] = perceptual;
            }

            return measures;
        }
    }

    /// <summary>Computes the loss and sets the gradient of the reconstruction.</summary>
    /// <param name="tape">The tape.</param>
    /// <param name="image">The pictures x.</param>
    /// <param name="reconstruction">The reconstructions y, of the same shape.</param>
    /// <param name="perceptual">What to add for how pictures look, or null.</param>
    public static ReconstructionLoss Add(Tape tape, Variable image, Variable reconstruction, PerceptualLoss? perceptual)
    {
        // d/dy of mean |y - x| + mean (y - x)^2 = (sign(y - x) + 2 (y - x)) / n.
        Span<float> difference = reconstruction.Gradient.Span();
        TensorPrimitives.Subtract(reconstruction.Value.Span(), image.Value.Span(), difference);
        int n = difference.Length;
        double l1 = TensorPrimitives.SumOfMagnitudes<float>(difference) / (double)n;
        double l2 = TensorPrimitives.SumOfSquares<float>(difference) / (double)n;
        foreach (ref float value in difference)
        {
            value = (MathF.Sign(value) + 2 * value) / n;
        }

        return new ReconstructionLoss(l1, l2, perceptual?.Add(tape, image, reconstruction));
    }
}
