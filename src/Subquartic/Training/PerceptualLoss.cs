using System.Numerics.Tensors;

namespace Subquartic.Training;

/// <summary>How differently a trained network sees two pictures: w times the mean over its levels of the mean squared difference of their features
/// (Johnson, Alahi and Fei-Fei 2016). Pretrained networks cannot be shipped, so the network is a classifier that <c>train classifier</c> wrote.</summary>
/// <param name="network">The classifier, frozen; stays the caller's.</param>
/// <param name="weight">w, 0 or more.</param>
public sealed class PerceptualLoss(ClassifierNetwork network, double weight)
{
    /// <summary>Identifies network and weight.</summary>
    internal string Description
    {
        get
        {
            ulong hash = 0;
            foreach (Parameter parameter in network.Parameters.All)
            {
                hash = Trainer.Hash(parameter.Value.Span(), hash);
            }

            return $"{weight} {hash:x}";
        }
    }

    /// <summary>Computes the loss; its gradient reaches <paramref name="reconstruction"/> when the tape runs backward.</summary>
    /// <param name="tape">The tape.</param>
    /// <param name="picture">(B, H, W, 3), the goal.</param>
    /// <param name="reconstruction">The same shape.</param>
    /// <returns>The loss, w included.</returns>
    public double Add(Tape tape, Variable picture, Variable reconstruction)
    {
        IReadOnlyList<Variable> goal = network.Forward(tape, picture).Levels;
        IReadOnlyList<Variable> seen = network.Forward(tape, reconstruction).Levels;
        double loss = 0;
        for (int i = 0; i < goal.Count; i++)
        {
            Span<float> difference = seen[i].Gradient.Span();
            TensorPrimitives.Subtract(seen[i].Value.Span(), goal[i].Value.Span(), difference);
            double share = weight / goal.Count / difference.Length;
            loss += share * TensorPrimitives.SumOfSquares<float>(difference);
            TensorPrimitives.Multiply(difference, (float)(2 * share), difference);
        }

        return loss;
    }
}
