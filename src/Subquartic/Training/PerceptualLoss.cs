using System.Numerics.Tensors;

namespace Subquartic.Training;

/// <summary>How differently a trained network sees two pictures: w times the mean over its levels of the mean squared difference of their features
/// (Johnson, Alahi and Fei-Fei 2016). Pretrained networks cannot be shipped, so the network is a classifier that <c>train classifier</c> wrote.</summary>
/// <param name="networks">At least one classifier, frozen; they stay the caller's. Of several the mean is taken.</param>
/// <param name="weight">w, 0 or more.</param>
public sealed class PerceptualLoss(IReadOnlyList<ClassifierNetwork> networks, double weight)
{
    /// <summary>Identifies networks and weight.</summary>
    internal string Description => $"{weight} {string.Join(' ', networks.Select(network => network.Identity))}";

    /// <summary>Computes the loss; its gradient reaches <paramref name="reconstruction"/> when the tape runs backward.</summary>
    /// <param name="tape">The tape.</param>
    /// <param name="picture">(B, H, W, 3), the goal.</param>
    /// <param name="reconstruction">The same shape.</param>
    /// <returns>The loss, w included.</returns>
    public double Add(Tape tape, Variable picture, Variable reconstruction)
    {
        double loss = 0;
        foreach (ClassifierNetwork network in networks)
        {
            IReadOnlyList<Variable> goal = network.Forward(tape, picture).Levels;
            IReadOnlyList<Variable> seen = network.Forward(tape, reconstruction).Levels;
            for (int i = 0; i < goal.Count; i++)
            {
                Span<float> difference = seen[i].Gradient.Span();
                TensorPrimitives.Subtract(seen[i].Value.Span(), goal[i].Value.Span(), difference);
                double share = weight / networks.Count / goal.Count / difference.Length;
                loss += share * TensorPrimitives.SumOfSquares<float>(difference);
                TensorPrimitives.Multiply(difference, (float)(2 * share), difference);
            }
        }

        return loss;
    }
}
